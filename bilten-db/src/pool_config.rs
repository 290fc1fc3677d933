//! How many connections a node has, how long they live, and how long callers wait for them.

use std::time::Duration;

use crate::Error;

/// The pool of each node, with the defaults of a busy web service.
///
/// | setting | default | what the driver does with it |
/// |---|---|---|
/// | [`max`](Self::max) | 20 | never opens more |
/// | [`min`](Self::min) | 0 | opened in the background, one after another, and kept; a server that refuses them is asked again after 1 s to 1 min |
/// | [`idle_timeout`](Self::idle_timeout) | 30 s | looks once per `idle_timeout`, so a connection closes after one to two of them |
/// | [`connect_timeout`](Self::connect_timeout) | 2 s | the driver has no such setting: the cluster times it |
/// | [`acquire_timeout`](Self::acquire_timeout) | 5 s | waiting for a free connection of a full pool |
/// | [`query_timeout`](Self::query_timeout) | 30 s | the cluster times it and gives the connection up |
/// | [`statement_timeout`](Self::statement_timeout) | off | the server ends the statement |
/// | [`client_check`](Self::client_check) | off | the server ends the statement of a client that went away; PostgreSQL 14 and later |
/// | [`max_lifetime`](Self::max_lifetime) | 30 min | checked when a connection comes back |
/// | [`max_uses`](Self::max_uses) | 7500 | the driver has no counter: each return closes with a chance of 1 in `max_uses` |
/// | [`ping_if_idle`](Self::ping_if_idle) | 10 s | a round trip before use, only after this long without use |
/// | [`statement_cache`](Self::statement_cache) | 100 | prepared statements per connection |
///
/// Durations above ten years count as ten years, a `statement_timeout` above 24 days as 24 days.
///
/// Known from other pools and not here, because the driver decides them: how often idle connections are looked for
/// (see `idle_timeout`), the wait between attempts to connect (10 ms, doubling), and the time to close (5 s).
///
/// ```
/// use std::time::Duration;
/// use bilten_db::PoolConfig;
///
/// let pool = PoolConfig::default().max(20).min(5).idle_timeout(Duration::from_secs(30));
/// assert!(pool.check("pool").is_ok());
///
/// let error = PoolConfig::default().max(2).min(3).check("pool").unwrap_err();
/// assert_eq!(error.to_string(), "pool.min is 3, above pool.max which is 2: lower pool.min or raise pool.max");
/// ```
#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub(crate) max: u32,
    pub(crate) min: u32,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) acquire_timeout: Duration,
    pub(crate) query_timeout: Option<Duration>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) client_check: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) max_uses: Option<u32>,
    pub(crate) ping_if_idle: Option<Duration>,
    pub(crate) statement_cache: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max: 20,
            min: 0,
            idle_timeout: Some(Duration::from_secs(30)),
            connect_timeout: Duration::from_secs(2),
            acquire_timeout: Duration::from_secs(5),
            query_timeout: Some(Duration::from_secs(30)),
            statement_timeout: None,
            client_check: None,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            max_uses: Some(7500),
            ping_if_idle: Some(Duration::from_secs(10)),
            statement_cache: 100,
        }
    }
}

impl PoolConfig {
    /// Most connections to one node. Defaults to 20; at least 1.
    #[must_use]
    pub fn max(mut self, connections: u32) -> Self {
        self.max = connections;
        self
    }

    /// Connections kept open even when nobody uses them. Defaults to 0; at most [`max`](Self::max).
    ///
    /// They are opened in the background, one after another, from [`connect`](crate::ClusterBuilder::connect) on, which
    /// does not wait for them. When the server refuses one, that is logged once, places for a tenth of them are left
    /// to others, and it is tried again after one second, later after up to a minute. Each is replaced after
    /// [`idle_timeout`](Self::idle_timeout) without use.
    #[must_use]
    pub fn min(mut self, connections: u32) -> Self {
        self.min = connections;
        self
    }

    /// How long an unused connection stays open. Defaults to 30 s; `None` keeps it.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into().map(bounded);
        self
    }

    /// Longest wait for a new connection, from TCP to the end of the login. Defaults to 2 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = bounded(timeout);
        self
    }

    /// Longest wait for a free connection when all of them are in use. Defaults to 5 s.
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = bounded(timeout);
        self
    }

    /// Longest wait for the answer to one statement. Defaults to 30 s; `None` waits for ever.
    ///
    /// The connection is closed then, because its answer is still on the way, and its place is free; the server may go on
    /// working, unless [`statement_timeout`](Self::statement_timeout) stops it. In a stream it bounds the wait for each
    /// row. A transaction is lost with the statement; its place is free a quarter of a second after it was dropped, on a
    /// silent server 2 s after it at the latest. SQLite cannot end a statement: there the place is free when that has ended.
    #[must_use]
    pub fn query_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.query_timeout = timeout.into().map(bounded);
        self
    }

    /// Longest time the server works on one statement. Off by default.
    ///
    /// PostgreSQL: `statement_timeout`. MySQL: `max_execution_time`, which ends reads only. SQLite has none.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.statement_timeout = timeout.into().map(|t| t.min(LONGEST_STATEMENT));
        self
    }

    /// How often the server looks, while it works on a statement, whether its client is still there; if not, the
    /// statement ends. Off by default; 1 s for the replicas of a cluster that hedges.
    ///
    /// What was given up here (a timeout, a caller who went away) otherwise goes on there until it is done. PostgreSQL 14
    /// and later: `client_connection_check_interval`, set once per connection. Others do not have it: see
    /// [`statement_timeout`](Self::statement_timeout).
    #[must_use]
    pub fn client_check(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.client_check = interval.into().map(|t| t.min(LONGEST_STATEMENT));
        self
    }

    /// How long a connection is used before it is replaced. Defaults to 30 min; `None` keeps it.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = lifetime.into().map(bounded);
        self
    }

    /// About how many statements run on a connection before it is replaced. Defaults to 7500; `None` for no limit.
    ///
    /// The number is a mean: each connection is replaced with a chance of 1 in `uses` when it comes back, which also
    /// keeps connections opened together from being replaced together.
    #[must_use]
    pub fn max_uses(mut self, uses: impl Into<Option<u32>>) -> Self {
        self.max_uses = uses.into();
        self
    }

    /// A connection unused for this long is tested before use. Defaults to 10 s; `None` never tests.
    #[must_use]
    pub fn ping_if_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.ping_if_idle = idle.into().map(bounded);
        self
    }

    /// Prepared statements kept per connection. Defaults to 100.
    ///
    /// With 0 each statement is prepared anew, but for one that follows itself with PostgreSQL, and under a name of its own all
    /// the same: that does not help behind a pooler that mixes sessions.
    #[must_use]
    pub fn statement_cache(mut self, statements: usize) -> Self {
        self.statement_cache = statements;
        self
    }

    /// Tells whether the settings make sense together; `field` names the pool in the error.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the settings and what to change.
    pub fn check(&self, field: &str) -> Result<(), Error> {
        if self.max == 0 {
            return Err(Error::invalid(
                format!("{field}.max"),
                "is 0, so no statement could ever run",
                "allow at least 1 connection",
            ));
        }
        if self.max > MOST_CONNECTIONS {
            return Err(Error::invalid(
                format!("{field}.max"),
                format!("is {}, and the pool keeps a place for each", self.max),
                format!("allow at most {MOST_CONNECTIONS} connections"),
            ));
        }
        if self.min > self.max {
            return Err(Error::invalid(
                format!("{field}.min"),
                format!("is {}, above {field}.max which is {}", self.min, self.max),
                format!("lower {field}.min or raise {field}.max"),
            ));
        }
        if self.max_uses == Some(0) {
            return Err(Error::invalid(
                format!("{field}.max_uses"),
                "is 0, so no connection could be used",
                "allow at least 1 use, or None for no limit",
            ));
        }
        if self
            .statement_timeout
            .is_some_and(|t| t < SHORTEST_STATEMENT)
        {
            return Err(Error::invalid(
                format!("{field}.statement_timeout"),
                "is below 1 ms, and a server counts it in milliseconds: 0 would switch it off",
                "set at least 1 ms, or None for no limit",
            ));
        }
        let timeouts = [
            ("connect_timeout", Some(self.connect_timeout)),
            ("acquire_timeout", Some(self.acquire_timeout)),
            ("query_timeout", self.query_timeout),
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("client_check", self.client_check),
        ];
        match timeouts
            .into_iter()
            .find(|(_, t)| *t == Some(Duration::ZERO))
        {
            Some((name, _)) => Err(Error::invalid(
                format!("{field}.{name}"),
                "is zero, so it would end before anything begins",
                "set a positive duration",
            )),
            None => Ok(()),
        }
    }
}

/// No server takes more, and the driver allocates for all of them at once.
const MOST_CONNECTIONS: u32 = 65_536;

/// The longest duration that is kept. What is added to a clock must not overflow it.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const SHORTEST_STATEMENT: Duration = Duration::from_millis(1);

/// The servers count this one in milliseconds of 31 bits.
const LONGEST_STATEMENT: Duration = Duration::from_secs(24 * 24 * 60 * 60);

fn bounded(duration: Duration) -> Duration {
    duration.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_senseless_setting_is_named() {
        let good = PoolConfig::default;
        let table = [
            (good().max(0), "pool.max"),
            (good().max(u32::MAX), "pool.max"),
            (good().max(4).min(5), "pool.min"),
            (good().max_uses(0), "pool.max_uses"),
            (
                good().connect_timeout(Duration::ZERO),
                "pool.connect_timeout",
            ),
            (
                good().acquire_timeout(Duration::ZERO),
                "pool.acquire_timeout",
            ),
            (good().query_timeout(Duration::ZERO), "pool.query_timeout"),
            (good().max_lifetime(Duration::ZERO), "pool.max_lifetime"),
            (
                good().statement_timeout(Duration::from_micros(500)),
                "pool.statement_timeout",
            ),
        ];
        for (pool, name) in table {
            let Err(Error::Invalid { field, .. }) = pool.check("pool") else {
                panic!("{name} was taken");
            };
            assert_eq!(field, name);
        }
        assert!(good().check("pool").is_ok());
    }

    #[test]
    fn off_is_a_meaning() {
        let pool = PoolConfig::default()
            .idle_timeout(None)
            .query_timeout(None)
            .statement_timeout(None)
            .max_lifetime(None)
            .max_uses(None)
            .ping_if_idle(None)
            .statement_cache(0);
        assert!(pool.check("pool").is_ok());
    }
}
