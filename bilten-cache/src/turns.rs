//! How many keys of one call ask the second level at once, and how long they may take for that before they are loaded.

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};
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
    /// How many wait for another process, and how many have waited to the end.
    waiting: AtomicUsize,
    told: AtomicUsize,
    news: Notify,
}

/// One key that waits for another process, with the others of its call.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    turns: Option<&'a Turns>,
    /// What it has heard of the others.
    heard: usize,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(turns: Option<&'a Turns>) -> Self {
        if let Some(turns) = turns {
            turns.waiting.fetch_add(1, Ordering::Relaxed);
        }
        Self {
            turns,
            heard: turns.map_or(0, Turns::told),
        }
    }

    /// How many keys of its call wait.
    pub(crate) fn others(&self) -> usize {
        self.turns
            .map_or(1, |turns| turns.waiting.load(Ordering::Relaxed))
    }

    /// When one of the others need not wait any more, since this was asked last: often the same process loads all of them.
    pub(crate) async fn news(&self) {
        let Some(turns) = self.turns else {
            return std::future::pending().await;
        };
        let mut more = pin!(turns.news.notified());
        more.as_mut().enable();
        if turns.told() == self.heard {
            more.await;
        }
    }

    /// Whatever was to be heard so far.
    pub(crate) fn has_heard(&mut self) {
        self.heard = self.turns.map_or(0, Turns::told);
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(turns) = self.turns {
            turns.waiting.fetch_sub(1, Ordering::Relaxed);
            turns.told.fetch_add(1, Ordering::AcqRel);
            turns.news.notify_waiters();
        }
    }
}

impl Turns {
    /// So many `at_once`; no first lease is asked for when `patience` is over.
    pub(crate) fn new(at_once: usize, patience: Duration) -> Self {
        Self {
            places: Semaphore::new(at_once),
            patience,
            until: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
            news: Notify::new(),
        }
    }

    fn told(&self) -> usize {
        self.told.load(Ordering::Acquire)
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
