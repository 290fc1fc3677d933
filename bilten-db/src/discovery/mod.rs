//! Replicas that come and go: who there is, asked again and again.
//!
//! A [`Discover`] tells the replicas of the moment; [`Dns`] is the one that is built in. The cluster adds those that are
//! new, as [`Cluster::add_replica`](crate::Cluster::add_replica) does, and takes out those that are gone, after their work
//! has ended. Replicas that were named in the builder or added by hand are not touched.
//!
//! An answer that fails, comes too late or is empty changes nothing: a name service that is away must not take the
//! replicas with it. A replica leaves only when it was missing from several answers in a row
//! ([`Discovery::grace`]), because name servers often tell a part of what they know.
//!
//! A [`Discover`] that panics counts as one that fails: it is asked again after the next pause. Replicas of an answer that
//! cannot be added, for a wrong URL say, are left out and the others join. Both are logged once, and
//! [`ClusterStatus::discovery`](crate::status::ClusterStatus::discovery) shows them for as long as they last.

mod changes;
mod dns;

pub use dns::{Dns, Resolve, SystemResolver};

pub(crate) use changes::{Changes, Known};

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::address::veiled;
use crate::pool_config::LONGEST;
use crate::{Error, Replica};

/// Shortest pause between two questions.
const SHORTEST: Duration = Duration::from_millis(10);

/// What a [`Discover`] may fail with.
pub type Failure = Box<dyn StdError + Send + Sync>;

/// Tells which replicas there are right now.
///
/// ```
/// use bilten_db::Replica;
/// use bilten_db::discovery::{Discover, Failure};
///
/// struct FromFile;
///
/// impl Discover for FromFile {
///     async fn discover(&self) -> Result<Vec<(String, Replica)>, Failure> {
///         let file = tokio::fs::read_to_string("/etc/shop/replicas").await?;
///         Ok(file.lines().map(|url| (url.len().to_string(), Replica::new(url))).collect())
///     }
/// }
/// # drop(bilten_db::Cluster::builder().discovery(FromFile));
/// ```
pub trait Discover: Send + Sync + 'static {
    /// All replicas, each with an id of its own. The id stands for the place: a replica that moves gets another one.
    ///
    /// # Errors
    ///
    /// Any; the replicas known so far stay.
    ///
    /// # Cancellation
    ///
    /// Dropped when it takes longer than [`Discovery::timeout`].
    fn discover(&self) -> impl Future<Output = Result<Vec<(String, Replica)>, Failure>> + Send;

    /// Whether it can ever answer. Asked once, when the cluster is built; by default it can.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for settings without meaning: the cluster is not built then.
    fn check(&self) -> Result<(), Error> {
        Ok(())
    }
}

type Answer<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<(String, Replica)>, Failure>> + Send + 'a>>;

/// [`Discover`] in a form that can be kept.
pub(crate) trait Source: Send + Sync {
    fn ask(&self) -> Answer<'_>;
    fn check(&self) -> Result<(), Error>;
}

impl<D: Discover> Source for D {
    fn ask(&self) -> Answer<'_> {
        // Called when polled, so that a panic before the first await is that of the future too.
        Box::pin(async move { self.discover().await })
    }

    fn check(&self) -> Result<(), Error> {
        Discover::check(self)
    }
}

/// A question without an answer that could be used.
#[derive(Debug)]
pub(crate) enum Missed {
    Failed(Failure),
    Late(Duration),
    Panicked(String),
    Empty,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => f.write_str(&veiled(&failure.to_string())),
            Self::Late(limit) => write!(f, "no answer within {limit:?}"),
            Self::Panicked(message) => write!(f, "it panicked: {}", veiled(message)),
            Self::Empty => f.write_str("the answer names no replica"),
        }
    }
}

/// How often the replicas are asked for, and how soon one is gone.
///
/// ```
/// use std::time::Duration;
/// use bilten_db::Cluster;
/// use bilten_db::discovery::{Discovery, Dns};
///
/// let replicas = Dns::new("postgres://app@replicas.db.internal/shop");
/// let builder = Cluster::builder()
///     .primary("postgres://app@primary.db.internal/shop")
///     .discovery(Discovery::new(replicas).every(Duration::from_secs(10)).grace(3));
/// # drop(builder);
/// ```
#[must_use]
pub struct Discovery {
    pub(crate) source: Box<dyn Source>,
    interval: Duration,
    timeout: Duration,
    pub(crate) grace: u32,
    pub(crate) drain: Duration,
}

impl Discovery {
    /// Asks `source` every 30 s.
    pub fn new(source: impl Discover) -> Self {
        Self {
            source: Box::new(source),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            grace: 2,
            drain: Duration::from_secs(30),
        }
    }

    /// The pause between two questions, a fifth more or less, so that many processes do not ask at once. Defaults to
    /// 30 s; at least 10 ms. Choose the time for which the name service lets an answer be kept (TTL).
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Longest wait for an answer. Defaults to 5 s.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// From how many answers in a row a replica must be missing before it is taken out. Defaults to 2; at least 1.
    pub fn grace(mut self, answers: u32) -> Self {
        self.grace = answers;
        self
    }

    /// How long the work on a replica that is gone may go on. Defaults to 30 s; see
    /// [`Cluster::remove_replica`](crate::Cluster::remove_replica).
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.source.check()?;
        if self.interval < SHORTEST {
            return Err(Error::invalid(
                "discovery.every",
                format!("is {:?}", self.interval),
                format!("leave at least {SHORTEST:?} between two questions"),
            ));
        }
        if self.timeout.is_zero() {
            return Err(Error::invalid(
                "discovery.timeout",
                "is zero, so no answer would be in time",
                "allow some seconds",
            ));
        }
        if self.grace == 0 {
            return Err(Error::invalid(
                "discovery.grace",
                "is 0",
                "take a replica out after 1 answer without it, or more",
            ));
        }
        Ok(())
    }

    /// `dice` from 0 to 1.
    pub(crate) fn pause(&self, dice: f64) -> Duration {
        self.interval.min(LONGEST).mul_f64(0.8 + 0.4 * dice)
    }

    /// An answer that names at least one replica.
    pub(crate) async fn ask(&self) -> Result<Vec<(String, Replica)>, Missed> {
        let limit = self.timeout.min(LONGEST);
        let asked = AssertUnwindSafe(self.source.ask()).catch_unwind();
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(Ok(told))) if told.is_empty() => Err(Missed::Empty),
            Ok(Ok(Ok(told))) => Ok(told),
            Ok(Ok(Err(failure))) => Err(Missed::Failed(failure)),
            Ok(Err(panic)) => Err(Missed::Panicked(message_of(&*panic))),
            Err(_) => Err(Missed::Late(limit)),
        }
    }
}

/// What was said with a panic.
fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

impl<D: Discover> From<D> for Discovery {
    fn from(source: D) -> Self {
        Self::new(source)
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery")
            .field("interval", &self.interval)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_settings_are_named() {
        let dns = || Discovery::new(Dns::new("postgres://app@replicas/shop"));
        let field = |discovery: Discovery| match discovery.check() {
            Err(Error::Invalid { field, .. }) => field,
            _ => String::new(),
        };
        assert_eq!(field(dns()), "");
        assert_eq!(field(dns().every(Duration::ZERO)), "discovery.every");
        assert_eq!(field(dns().timeout(Duration::ZERO)), "discovery.timeout");
        assert_eq!(field(dns().grace(0)), "discovery.grace");
        assert!(dns().every(Duration::MAX).pause(1.0) > Duration::ZERO);
    }
}
