//! Counts since the start, and percentiles of the last one to two minutes.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::histogram::{Counts, Histogram};
use super::{Percentiles, Stats};
use crate::outcome::Outcome;

/// One of the two histograms is filled for so long, then the other is emptied and filled.
const TURN_NANOS: u64 = 60_000_000_000;

/// What is kept for one name.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    started: AtomicU64,
    ended: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicU64,
    /// The turn whose values are being collected.
    turn: AtomicU64,
    /// The turn for which the histograms are emptied; behind the other while somebody is at it.
    emptied: AtomicU64,
    pub(super) histograms: [Histogram; 2],
}

impl Recent {
    #[cfg_attr(
        not(any(test, feature = "http")),
        expect(dead_code, reason = "only requests are never sampled")
    )]
    pub(crate) fn begin(&self) {
        self.begin_many(1);
    }

    pub(crate) fn begin_many(&self, weight: u32) {
        self.started.fetch_add(u64::from(weight), Ordering::Relaxed);
    }

    /// Takes back what [`begin`](Self::begin) counted, for an operation that is not to be seen.
    #[cfg_attr(
        not(feature = "http"),
        expect(
            dead_code,
            reason = "only the HTTP layer has responses that are left out"
        )
    )]
    pub(crate) fn forget(&self) {
        self.started.fetch_sub(1, Ordering::Relaxed);
    }

    #[cfg_attr(
        not(any(test, feature = "http")),
        expect(dead_code, reason = "only requests are never sampled")
    )]
    pub(crate) fn end(&self, now: u64, took: u64, outcome: Outcome) {
        self.end_many(now, took, outcome, 1);
    }

    /// `weight` operations like this one have ended.
    pub(crate) fn end_many(&self, now: u64, took: u64, outcome: Outcome, weight: u32) {
        let weight = u64::from(weight);
        self.ended.fetch_add(weight, Ordering::Relaxed);
        let kind = match outcome {
            Outcome::Success => None,
            Outcome::Cancelled => Some(&self.cancelled),
            Outcome::Error(_) | Outcome::Panicked => Some(&self.errors),
        };
        if let Some(count) = kind {
            count.fetch_add(weight, Ordering::Relaxed);
        }
        let turn = self.at(now);
        self.histogram(turn).record_many(took, weight);
    }

    /// How many began and have not ended; `None` when none ever began.
    pub(crate) fn in_flight(&self) -> Option<u64> {
        // Read before `started`: an operation that ends in between is then never a negative number in flight.
        let ended = self.ended.load(Ordering::SeqCst);
        let started = self.started.load(Ordering::SeqCst);
        (started > 0).then(|| started.saturating_sub(ended))
    }

    pub(crate) fn stats(&self, name: &str, now: u64) -> Stats {
        self.at(now);
        let mut counts = Counts::new();
        let longest = self
            .histograms
            .iter()
            .map(|histogram| histogram.add_to(&mut counts))
            .max()
            .unwrap_or(0);
        // The upper end of a bucket may lie above the longest of all.
        let quantile = |per_mille| Duration::from_nanos(counts.quantile(per_mille).min(longest));
        // Read before `started`: an operation that ends in between is then never a negative number in flight.
        let ended = self.ended.load(Ordering::SeqCst);
        Stats {
            name: name.to_owned(),
            count: ended,
            errors: self.errors.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Relaxed),
            in_flight: self.started.load(Ordering::SeqCst).saturating_sub(ended),
            recent: Percentiles {
                count: counts.total(),
                p50: quantile(500),
                p95: quantile(950),
                p99: quantile(990),
                max: Duration::from_nanos(longest),
            },
        }
    }

    /// The turn at this moment. Whoever sees a new one first empties what is too old.
    ///
    /// A value recorded while its histogram is emptied may be missed: these are a page's numbers, and the
    /// recorder has the exact ones.
    pub(super) fn at(&self, now: u64) -> u64 {
        let turn = now / TURN_NANOS;
        if let Some(before) = self.claim(turn) {
            self.empty(before, turn);
        }
        turn
    }

    /// Begins a turn, unless it has begun: then the one before, and the histograms are the caller's to empty.
    pub(super) fn claim(&self, turn: u64) -> Option<u64> {
        let before = self.turn.load(Ordering::Relaxed);
        if turn <= before {
            return None;
        }
        self.turn
            .compare_exchange(before, turn, Ordering::Relaxed, Ordering::Relaxed)
            .ok()
    }

    pub(super) fn empty(&self, before: u64, turn: u64) {
        // Who sees a number that is gone sees the new turn as well.
        fence(Ordering::Release);
        self.histogram(turn).clear();
        if turn > before + 1 {
            self.histogram(turn + 1).clear();
        }
        self.emptied.fetch_max(turn, Ordering::Release);
    }

    /// The turn whose values are being collected; `None` while somebody empties what is too old, and who reads would
    /// take values of a turn that is over for those of this one.
    #[cfg_attr(
        not(feature = "dashboard"),
        expect(dead_code, reason = "only the live page reads what is new")
    )]
    pub(super) fn settled(&self) -> Option<u64> {
        let emptied = self.emptied.load(Ordering::Acquire);
        self.is_still(emptied).then_some(emptied)
    }

    /// Whether no later turn had begun when the last number was read that was read before this.
    pub(super) fn is_still(&self, turn: u64) -> bool {
        fence(Ordering::Acquire);
        self.turn.load(Ordering::Relaxed) == turn
    }

    fn histogram(&self, turn: u64) -> &Histogram {
        let [even, odd] = &self.histograms;
        if turn.is_multiple_of(2) { even } else { odd }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn recent_count(recent: &Recent, now: u64) -> u64 {
        recent.stats("q", now).recent.count
    }

    #[test]
    fn values_are_forgotten_after_one_to_two_minutes_and_counts_are_not() {
        let recent = Recent::default();
        recent.begin();
        recent.end(10 * SECOND, SECOND, Outcome::Success);
        assert_eq!(recent_count(&recent, 59 * SECOND), 1);
        recent.begin();
        recent.end(70 * SECOND, SECOND, Outcome::Panicked);
        assert_eq!(recent_count(&recent, 119 * SECOND), 2);
        assert_eq!(recent_count(&recent, 121 * SECOND), 1);
        assert_eq!(recent_count(&recent, 600 * SECOND), 0);
        let stats = recent.stats("q", 600 * SECOND);
        assert_eq!((stats.count, stats.errors, stats.in_flight), (2, 1, 0));
    }

    #[test]
    fn a_percentile_is_never_above_the_longest() {
        let recent = Recent::default();
        recent.begin();
        recent.end(0, 1_234_567, Outcome::Cancelled);
        let stats = recent.stats("q", 0);
        assert_eq!(stats.recent.p99, Duration::from_nanos(1_234_567));
        assert_eq!((stats.cancelled, stats.errors), (1, 0));
    }
}
