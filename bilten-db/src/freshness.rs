//! How new the data of a read must be.

use std::future::Future;
use std::time::Duration;

use crate::Token;

/// How new the data must be that a read sees.
///
/// What is asked for is kept by proof or by the primary, never by hope: a replica counts only by what it said itself, and
/// when none is known to be as far, the primary answers, as many at once as [`Fallback`](crate::Fallback) allows.
///
/// For the reads of a [`Session`](crate::Session) with [`Session::freshness`](crate::Session::freshness), for everything
/// that a future does with [`with_freshness`].
///
/// ```
/// use std::time::Duration;
/// # use bilten_db::{Cluster, Error, sea_orm::ConnectionTrait};
/// use bilten_db::scope::{Freshness, with_freshness};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let prices = async { db.execute_unprepared("SELECT 1").await };
/// with_freshness(Freshness::MaxLag(Duration::from_secs(5)), prices).await?;
/// let session = db.session().freshness(Freshness::Primary);
/// # drop(session); Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Freshness {
    /// Any state that a replica in rotation shows. The default.
    #[default]
    Any,
    /// Everything up to this long ago.
    ///
    /// Not knowing counts as lag, and what is known grows old: the primary and each replica are asked about once a second, each for
    /// itself. So a replica that lags by nothing proves the state of a second ago on average, and of less than three at worst. Below
    /// three seconds some reads go to the primary although nothing lags; below one second, with one replica, most do.
    MaxLag(Duration),
    /// Everything that was committed before this token was made. A session waits for a replica that is nearly there.
    AtLeast(Token),
    /// Every commit: the primary answers.
    Primary,
}

impl Freshness {
    /// The longest lag that will do.
    pub(crate) fn max_lag(self) -> Option<Duration> {
        match self {
            Self::MaxLag(limit) => Some(limit),
            _ => None,
        }
    }

    /// The point that must be reached.
    pub(crate) fn at_least(self) -> Option<Token> {
        match self {
            Self::AtLeast(token) => Some(token),
            _ => None,
        }
    }
}

tokio::task_local! {
    static FRESHNESS: Freshness;
}

/// Runs `future` with a demand on all its reads, on whatever cluster. An inner demand takes the place of an outer one.
///
/// Where a session has a demand of the same kind, the stricter of the two counts. The demand belongs to the task: what `future` spawns does
/// not see it.
///
/// # Cancellation
///
/// Nothing is held when the returned future is dropped.
pub async fn with_freshness<F: Future>(freshness: Freshness, future: F) -> F::Output {
    FRESHNESS.scope(freshness, future).await
}

/// The demand of the present task.
pub(crate) fn wanted() -> Freshness {
    FRESHNESS.try_with(|wanted| *wanted).unwrap_or_default()
}

/// What a read asks of a replica.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Want<'a> {
    pub(crate) max_lag: Option<Duration>,
    pub(crate) at_least: Option<Token>,
    pub(crate) group: Option<&'a str>,
}

impl Want<'_> {
    /// Whether any state of the data will do.
    pub(crate) fn is_any(&self) -> bool {
        self.max_lag.is_none() && self.at_least.is_none()
    }
}
