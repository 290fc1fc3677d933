//! How much extra work the cluster may do for a read: second tries after a fault, and hedges against a slow node.

use std::time::Duration;

use crate::Error;

/// How many reads may be sent a second time.
///
/// A read whose node fails goes once to another replica and then to the primary. When many fail at once, these second
/// tries would double the load just when nodes are missing, so they are limited to a share of all reads; what goes
/// beyond fails with the node's own error. Reads that failed before they were sent (a refused connection, a full pool)
/// are not counted: they did no work yet.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::retry::RetryConfig;
///
/// let builder = Cluster::builder().retry(RetryConfig::default().percent(5).reserve(50));
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct RetryConfig {
    pub(crate) percent: u32,
    pub(crate) reserve: Option<u32>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            percent: 10,
            reserve: None,
        }
    }
}

impl RetryConfig {
    /// No read is sent twice.
    pub fn off() -> Self {
        Self {
            percent: 0,
            reserve: Some(0),
        }
    }

    /// Second tries for each hundred reads. Defaults to 10; at most 100.
    pub fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Second tries that may happen at once, whatever happened before. Filled up by the share of the reads, and with
    /// time within ten seconds. Defaults to as many as the replicas' pools hold together, but not fewer than 100.
    pub fn reserve(mut self, tries: u32) -> Self {
        self.reserve = Some(tries);
        self
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        check_reserve("retry.reserve", self.percent, self.reserve)?;
        check_percent("retry.percent", self.percent)
    }
}

/// When a read that takes long is sent to a second replica as well.
///
/// Off by default. The first answer counts; the other statement is given up, its connection is closed, and PostgreSQL 14
/// or later ends it on the server within a second. Only single reads of a [`Cluster`](crate::Cluster) are hedged: not
/// transactions, not streams, and nothing that must stay on one node. Needs two replicas of which one is free.
///
/// ```
/// use std::time::Duration;
/// use bilten_db::{Balance, Cluster};
/// use bilten_db::retry::HedgeConfig;
///
/// let builder = Cluster::builder()
///     .balance(Balance::PeakEwma) // learns to leave the slow node; the hedge helps those who still meet it
///     .hedge(HedgeConfig::after(Duration::from_millis(30)));
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct HedgeConfig {
    pub(crate) after: Duration,
    pub(crate) percent: u32,
    pub(crate) reserve: u32,
}

impl HedgeConfig {
    /// Sends a read a second time when there is no answer after this long: choose what nineteen of twenty reads stay
    /// below.
    pub fn after(delay: Duration) -> Self {
        Self {
            after: delay,
            percent: 5,
            reserve: 10,
        }
    }

    /// Hedges for each hundred reads. Defaults to 5; at most 100.
    pub fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Hedges that may happen at once, whatever happened before. Defaults to 10.
    pub fn reserve(mut self, hedges: u32) -> Self {
        self.reserve = hedges;
        self
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        if self.after.is_zero() {
            return Err(Error::invalid(
                "hedge.after",
                "is zero, so every read would be sent twice",
                "wait longer than most reads take",
            ));
        }
        check_reserve("hedge.reserve", self.percent, Some(self.reserve))?;
        check_percent("hedge.percent", self.percent)
    }
}

/// What the ordinary work adds has its place in the reserve.
fn check_reserve(field: &str, percent: u32, reserve: Option<u32>) -> Result<(), Error> {
    if percent == 0 || reserve != Some(0) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        "is 0, so nothing would ever be sent a second time",
        "allow at least 1, or turn it off (RetryConfig::off(), no hedge)",
    ))
}

fn check_percent(field: &str, percent: u32) -> Result<(), Error> {
    if percent <= 100 {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format!("is {percent}"),
        "allow at most 100, which is one for each read",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_settings_are_named() {
        let field = |checked: Result<(), Error>| match checked {
            Err(Error::Invalid { field, .. }) => field,
            _ => String::new(),
        };
        let hedge = HedgeConfig::after(Duration::from_millis(20));
        assert_eq!(
            field(RetryConfig::default().percent(101).check()),
            "retry.percent"
        );
        assert_eq!(field(hedge.percent(1000).check()), "hedge.percent");
        assert_eq!(
            field(HedgeConfig::after(Duration::ZERO).check()),
            "hedge.after"
        );
        let none = RetryConfig::default().reserve(0).check();
        assert_eq!(field(none), "retry.reserve");
        assert_eq!(field(hedge.reserve(0).check()), "hedge.reserve");
        assert!(hedge.check().is_ok() && RetryConfig::off().check().is_ok());
    }
}
