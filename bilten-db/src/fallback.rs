//! What becomes of reads when no replica can serve them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::DbErr;

use crate::Error;

/// What happens to a read when no replica is in rotation.
///
/// ```
/// use bilten_db::{Cluster, Fallback};
///
/// let builder = Cluster::builder().fallback(Fallback::Primary { max_in_flight: 100 });
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The primary serves it, but not more than `max_in_flight` at once: others fail with
    /// [`Error::Overloaded`], so that lost replicas do not take the primary with them. The default, with twice the
    /// connections of the primary's pool.
    Primary {
        /// Most reads that wait or run on the primary in place of replicas. Streams and transactions that only read count
        /// until they end. At least 1: see [`Error`](Self::Error) for none.
        max_in_flight: u32,
    },
    /// The replica that lags least serves it, although that is more than allowed; without any replica it fails with [`Error::NoReplica`].
    /// Such a read counts with the reason `stale` in `bilten_db_statements_total` and in its span, and
    /// [`Session::is_stale`](crate::Session::is_stale) tells a session of it.
    StaleReplica,
    /// It fails with [`Error::NoReplica`].
    Error,
}

impl Fallback {
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.max_in_flight() != Some(0) {
            return Ok(());
        }
        Err(Error::invalid(
            "fallback.max_in_flight",
            "is 0, so every read without a replica would fail as if the primary were overloaded",
            "allow at least 1, or say Fallback::Error to spare the primary",
        ))
    }

    /// Most reads that the primary takes over; `None` when it takes none.
    pub(crate) fn max_in_flight(self) -> Option<u32> {
        match self {
            Self::Primary { max_in_flight } => Some(max_in_flight),
            Self::StaleReplica | Self::Error => None,
        }
    }
}

/// A pool that is full is not a replica that is down: the caller hears which.
pub(crate) fn or_full(error: DbErr, full: Option<DbErr>) -> DbErr {
    match (Error::of(&error), full) {
        (Some(Error::NoReplica), Some(full)) => full,
        _ => error,
    }
}

pub(crate) fn no_such_group(name: &str) -> Error {
    Error::invalid(
        format!("group `{name}`"),
        "has no replica",
        "correct the name, or give a replica this group with Replica::group()",
    )
}

/// One of the places for reads that the primary serves in place of replicas.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicU32>);

impl Place {
    pub(crate) fn take(taken: &Arc<AtomicU32>, limit: u32) -> Result<Self, Error> {
        let place = Self(Arc::clone(taken));
        if taken.fetch_add(1, Ordering::Relaxed) < limit {
            Ok(place)
        } else {
            Err(Error::Overloaded { limit })
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_however_they_end() {
        let taken = Arc::default();
        let first = Place::take(&taken, 1).unwrap();
        assert!(matches!(
            Place::take(&taken, 1),
            Err(Error::Overloaded { limit: 1 })
        ));
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(Place::take(&taken, 1).is_ok());
    }
}
