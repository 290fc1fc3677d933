//! A histogram of fixed size: sixteen steps for each doubling, from one microsecond to nineteen hours.
//!
//! The layout is that of HdrHistogram: a value's leading bits choose the bucket, so no search is needed and the
//! relative error is bounded by the number of steps (<https://hdrhistogram.github.io/HdrHistogram/>).

use std::sync::atomic::{AtomicU64, Ordering};

/// Steps for each doubling, as a power of two.
const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;
/// Doublings beyond the first steps; 2^36 µs are 19 hours.
const DOUBLINGS: u64 = 36 - STEP_BITS as u64 + 1;
pub(super) const BUCKETS: usize = (STEPS * (DOUBLINGS + 1)) as usize;

#[derive(Debug)]
pub(crate) struct Histogram {
    pub(super) buckets: Box<[AtomicU64]>,
    max_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            max_nanos: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    #[cfg(any(test, feature = "dashboard"))]
    pub(crate) fn record(&self, nanos: u64) {
        self.record_many(nanos, 1);
    }

    pub(crate) fn record_many(&self, nanos: u64, times: u64) {
        if let Some(bucket) = self.buckets.get(index(nanos / 1000)) {
            bucket.fetch_add(times, Ordering::Relaxed);
        }
        // Read first: a longest one is rare, and a write takes the cache line from other threads.
        if nanos > self.max_nanos.load(Ordering::Relaxed) {
            self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        self.buckets
            .iter()
            .for_each(|bucket| bucket.store(0, Ordering::Relaxed));
        self.max_nanos.store(0, Ordering::Relaxed);
    }

    /// Adds this histogram's counts to `counts`, and returns its largest value.
    pub(crate) fn add_to(&self, counts: &mut Counts) -> u64 {
        for (sum, bucket) in counts.0.iter_mut().zip(&self.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.max_nanos.load(Ordering::Relaxed)
    }
}

/// The counts of several histograms together.
#[derive(Debug)]
pub(crate) struct Counts(pub(super) Vec<u64>);

impl Counts {
    pub(crate) fn new() -> Self {
        Self(vec![0; BUCKETS])
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The upper end of the bucket that holds this share, in nanoseconds. `per_mille` is at most 1000.
    pub(crate) fn quantile(&self, per_mille: u64) -> u64 {
        let rank = (self.total() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let holds = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.0
            .iter()
            .position(holds)
            .map_or(0, |at| upper_micros(at as u64).saturating_mul(1000))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the index is at most BUCKETS"
)]
fn index(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2()) - u64::from(STEP_BITS);
    let step = (micros >> doubling) - STEPS;
    (STEPS * (doubling + 1) + step).min(BUCKETS as u64 - 1) as usize
}

/// One more than the largest value of a bucket.
fn upper_micros(index: u64) -> u64 {
    if index < STEPS {
        return index + 1;
    }
    let doubling = index / STEPS - 1;
    (STEPS + index % STEPS + 1) << doubling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_its_bucket_and_the_error_is_bounded() {
        let mut last = 0;
        for micros in (0..100_000)
            .chain((20..36).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 12_345]))
        {
            let at = index(micros);
            let upper = upper_micros(at as u64);
            assert!(micros < upper, "{micros} {upper}");
            assert!(
                micros < STEPS || (upper - micros) * 1000 <= micros * 63,
                "{micros} {upper}"
            );
            assert!(at >= last || micros < 100_000, "buckets rise");
            last = at;
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|milli| histogram.record(milli * 1_000_000));
        let mut counts = Counts::new();
        assert_eq!(histogram.add_to(&mut counts), 1_000_000_000);
        for (per_mille, expected) in [(500, 500), (950, 950), (990, 990)] {
            let millis = counts.quantile(per_mille) / 1_000_000;
            assert!(
                (expected..=expected * 1063 / 1000).contains(&millis),
                "{per_mille}: {millis}"
            );
        }
        histogram.clear();
        let mut empty = Counts::new();
        assert_eq!(
            (
                histogram.add_to(&mut empty),
                empty.total(),
                empty.quantile(990)
            ),
            (0, 0, 0)
        );
    }
}
