//! How many keys of one call ask the second level at once, and how long they may take for that before they are loaded.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// A turn did not come in time.
#[derive(Debug)]
pub(crate) struct TooLate;

/// A thousand keys at once would be too slow for the time that one call has.
#[derive(Debug)]
pub(crate) struct Turns {
    places: Semaphore,
    patience: Duration,
    /// From when the first of them asked for a lease.
    until: OnceLock<Instant>,
}

impl Turns {
    /// So many `at_once`; no first lease is asked for when `patience` is over.
    pub(crate) fn new(at_once: usize, patience: Duration) -> Self {
        Self {
            places: Semaphore::new(at_once),
            patience,
            until: OnceLock::new(),
        }
    }

    /// However long it takes.
    pub(crate) async fn next(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// For a lease. Who has waited for another process already has the time of that wait.
    pub(crate) async fn before(
        &self,
        until: Option<Instant>,
    ) -> Result<Option<SemaphorePermit<'_>>, TooLate> {
        let first = || *self.until.get_or_init(|| Instant::now() + self.patience);
        let turn = timeout_at(until.unwrap_or_else(first), self.next());
        turn.await.map_err(|_| TooLate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_first_lease_comes_in_time_or_not_at_all() {
        let second = Duration::from_secs(1);
        let turns = Turns::new(1, second);
        let held = turns.before(None).await.unwrap();
        let begun = Instant::now();
        assert!(turns.before(None).await.is_err());
        assert_eq!(begun.elapsed(), second, "from the first one on");
        assert!(turns.before(None).await.is_err());
        assert_eq!(begun.elapsed(), second);
        let later = Instant::now() + second;
        assert!(turns.before(Some(later)).await.is_err());
        assert_eq!(begun.elapsed(), 2 * second, "who has waited may go on");
        drop(held);
        assert!(turns.before(None).await.unwrap().is_some(), "it is free");
        assert!(turns.next().await.is_some());
    }
}
