//! Whether a replica lost a hedge not long ago.
//!
//! A replica that is slow as a whole would otherwise get its share of the reads for ever, and hedges are meant for few
//! reads, not for every second one. What a hedge proved is remembered, whatever the balance looks at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// For so long it is asked only when no quicker one has a connection to spare.
const PASSED_OVER: Duration = Duration::from_secs(5);
/// After that one read tries it; the others go on without it for this long, or until that one was answered in time.
const TRIAL: Duration = Duration::from_secs(1);

/// The memory of one node. Reading it costs one atomic load.
#[derive(Debug)]
pub(crate) struct Sluggish {
    epoch: Instant,
    /// Milliseconds since the epoch; 0 for a node that lost nothing.
    until: AtomicU64,
}

impl Sluggish {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            until: AtomicU64::new(0),
        }
    }

    /// Another node answered first, although it began later.
    pub(crate) fn lost(&self, now: Instant) {
        self.until
            .store(self.stamp(now + PASSED_OVER), Ordering::Relaxed);
    }

    pub(crate) fn is_passed_over(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && self.stamp(now) < until
    }

    /// It was chosen: if that is a trial, nobody else follows before its end is known.
    pub(crate) fn chosen(&self, now: Instant) {
        let until = self.until.load(Ordering::Relaxed);
        if until != 0 {
            let trial = self.stamp(now + TRIAL).max(until);
            let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
            // Whoever was faster has said the same, or that it is well again.
            let _ = self.until.compare_exchange(until, trial, set, get);
        }
    }

    /// It answered before anybody else was asked.
    pub(crate) fn was_in_time(&self) {
        if self.until.load(Ordering::Relaxed) != 0 {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    fn stamp(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lost_is_passed_over_until_a_trial_went_well() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let node = Sluggish::new(start);
        assert!(!node.is_passed_over(at(0)));
        node.chosen(at(0));
        assert!(!node.is_passed_over(at(0)), "a choice proves nothing");

        node.lost(at(10));
        assert!(node.is_passed_over(at(10)) && node.is_passed_over(at(5_000)));
        assert!(!node.is_passed_over(at(5_010)), "one may try");
        node.chosen(at(5_010));
        assert!(node.is_passed_over(at(5_020)), "and only one");
        assert!(!node.is_passed_over(at(6_010)), "a trial that was given up");
        node.chosen(at(6_010));
        node.lost(at(6_050));
        assert!(node.is_passed_over(at(11_000)));
        node.chosen(at(11_100));
        node.was_in_time();
        assert!(!node.is_passed_over(at(11_110)));
    }

    #[test]
    fn one_that_is_asked_for_want_of_another_stays_slow() {
        let start = Instant::now();
        let node = Sluggish::new(start);
        node.lost(start);
        node.chosen(start + Duration::from_secs(1));
        assert!(node.is_passed_over(start + Duration::from_secs(4)));
    }
}
