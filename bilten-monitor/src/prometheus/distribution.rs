//! A histogram that counts a value at the moment it is recorded.
//!
//! The exporter of `metrics-rs` queues values and folds them into buckets later: it keeps every value until then,
//! and a value that is written while its block is being folded can be lost (`AtomicBucket::clear_with` takes the
//! block away from a writer that has not claimed its place yet). Here nothing is queued.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::atomics::AtomicU64;

use super::storage::add;

#[derive(Debug)]
pub(super) struct Distribution {
    bounds: Arc<[f64]>,
    /// One for each bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

/// What a distribution held when it was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) bounds: Arc<[f64]>,
    pub(super) counts: Vec<u64>,
    pub(super) sum: f64,
}

impl Distribution {
    pub(super) fn new(bounds: Arc<[f64]>) -> Self {
        Self {
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            bounds,
        }
    }

    /// Counts a value; `false` for NaN and infinities, which would spoil the sum for ever.
    pub(super) fn record(&self, value: f64, times: u64) -> bool {
        if !value.is_finite() {
            return false;
        }
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            add(count, times);
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 at a time")]
        let added = value * times as f64;
        let sum = |bits| Some(finite(f64::from_bits(bits) + added).to_bits());
        let _ = self
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        true
    }

    pub(super) fn read(&self) -> Reading {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Reading {
            bounds: Arc::clone(&self.bounds),
            counts: self.counts.iter().map(count).collect(),
            sum: f64::from_bits(self.sum.load(Ordering::Relaxed)),
        }
    }
}

impl Reading {
    /// Two series that are written alike are one series.
    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.sum = finite(self.sum + other.sum);
    }
}

/// A sum of finite values that became infinite stays at the largest number: infinity would hide all that follows.
const fn finite(sum: f64) -> f64 {
    sum.clamp(f64::MIN, f64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it_and_what_is_no_number_is_refused() {
        let distribution = Distribution::new(Arc::new([0.1, 0.5]));
        for value in [0.1, 0.100_001, 0.5, 0.6, -1.0] {
            assert!(distribution.record(value, 1));
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!distribution.record(value, 1));
        }
        let reading = distribution.read();
        assert_eq!(reading.counts, [2, 2, 1]);
        assert!((reading.sum - 0.300_001).abs() < 1e-9, "{}", reading.sum);
    }

    #[test]
    fn counts_and_sums_stay_at_the_largest_number() {
        let distribution = Distribution::new(Arc::new([1.0]));
        for value in [f64::MAX, f64::MAX, -1.0] {
            assert!(distribution.record(value, u64::MAX));
        }
        let mut reading = distribution.read();
        reading.add(&distribution.read());
        assert_eq!(reading.counts, [u64::MAX, u64::MAX]);
        assert!(reading.sum.is_finite(), "{}", reading.sum);
    }

    #[test]
    fn nothing_is_lost_while_it_is_read_all_the_time() {
        let distribution = Distribution::new(Arc::new([1.0]));
        let (threads, each) = (4, 50_000);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..threads)
                .map(|_| scope.spawn(|| (0..each).all(|_| distribution.record(1.0, 1))))
                .collect();
            let mut last = 0;
            while !writers
                .iter()
                .all(std::thread::ScopedJoinHandle::is_finished)
            {
                let now = distribution.read().counts[0];
                assert!(now >= last);
                last = now;
            }
        });
        let reading = distribution.read();
        assert_eq!(reading.counts[0], threads * each);
        assert!((reading.sum - 200_000.0).abs() < f64::EPSILON);
    }
}
