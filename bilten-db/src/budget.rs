//! How much extra work there may be: a share of the ordinary work, and a reserve for bad moments.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One piece of extra work.
const WHOLE: i64 = 100;
/// An empty reserve is full again after this long, whether there is ordinary work or not.
const REFILL: Duration = Duration::from_secs(10);

/// A bucket of permits for extra work, such as second tries. Takes no lock.
#[derive(Debug)]
pub(crate) struct Budget {
    /// What each ordinary piece of work adds, in hundredths.
    percent: i64,
    most: i64,
    left: AtomicI64,
    epoch: Instant,
    /// Milliseconds since the epoch, up to which the time was turned into permits.
    refilled: AtomicU64,
}

impl Budget {
    /// `percent` of the ordinary work, and `reserve` pieces that are there from the beginning.
    pub(crate) fn new(percent: u32, reserve: u32) -> Self {
        let most = i64::from(reserve) * WHOLE;
        Self {
            percent: percent.into(),
            most,
            left: AtomicI64::new(most),
            epoch: Instant::now(),
            refilled: AtomicU64::new(0),
        }
    }

    /// Ordinary work is done. Costs one load while the reserve is full.
    pub(crate) fn deposit(&self) {
        if self.left.load(Ordering::Relaxed) < self.most {
            self.add(self.percent);
        }
    }

    /// Whether one piece of extra work may be done now; takes its permit.
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        self.refill(now);
        let take = |left: i64| (left >= WHOLE).then(|| left - WHOLE);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    fn refill(&self, now: Instant) {
        let since = now.saturating_duration_since(self.epoch).as_millis();
        let at = u64::try_from(since).unwrap_or(u64::MAX);
        let before = self.refilled.load(Ordering::Relaxed);
        let elapsed = i64::try_from(at.saturating_sub(before)).unwrap_or(i64::MAX);
        let whole = i64::try_from(REFILL.as_millis()).unwrap_or(i64::MAX);
        let gain = self.most.saturating_mul(elapsed.min(whole)) / whole;
        if gain == 0 {
            // The time goes on to count, however often somebody asks.
            return;
        }
        // Whoever was faster has turned the same time into permits.
        let _ = self
            .refilled
            .compare_exchange(before, at, Ordering::Relaxed, Ordering::Relaxed)
            .map(|_| self.add(gain));
    }

    fn add(&self, hundredths: i64) {
        let fill = |left: i64| Some((left + hundredths).min(self.most));
        // Never fails: `fill` always has a value.
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(budget: &Budget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.withdraw(now)).count()
    }

    #[test]
    fn the_reserve_comes_first_and_then_a_share_of_the_work() {
        let budget = Budget::new(10, 20);
        let now = Instant::now();
        assert_eq!(withdrawn(&budget, now), 20);
        (0..95).for_each(|_| budget.deposit());
        assert_eq!(withdrawn(&budget, now), 9);
        (0..100_000).for_each(|_| budget.deposit());
        assert_eq!(
            withdrawn(&budget, now),
            20,
            "never more than the reserve at once"
        );
    }

    #[test]
    fn an_idle_reserve_fills_with_time() {
        let budget = Budget::new(10, 20);
        let now = Instant::now();
        assert_eq!(withdrawn(&budget, now), 20);
        assert_eq!(withdrawn(&budget, now + Duration::from_secs(5)), 10);
        assert_eq!(withdrawn(&budget, now + Duration::from_secs(5)), 0);
        assert_eq!(withdrawn(&budget, now + Duration::from_secs(900)), 20);
    }

    #[test]
    fn asking_often_does_not_keep_the_reserve_empty() {
        let budget = Budget::new(0, 10);
        let now = Instant::now();
        assert_eq!(withdrawn(&budget, now), 10);
        let taken = (1..=5000).filter(|n| budget.withdraw(now + Duration::from_millis(2 * n)));
        assert_eq!(taken.count(), 10, "in ten seconds");
    }

    #[test]
    fn nothing_allowed_is_nothing() {
        let budget = Budget::new(0, 0);
        budget.deposit();
        assert!(!budget.withdraw(Instant::now() + Duration::from_secs(100)));
    }

    #[test]
    fn many_threads_never_take_more_than_there_is() {
        let budget = Budget::new(0, 50);
        let now = Instant::now();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| withdrawn(&budget, now)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(taken, 50);
    }
}
