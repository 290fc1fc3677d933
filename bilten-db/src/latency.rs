//! How long a node takes to answer: a moving average that follows a rise at once.
//!
//! The idea of the peak is Finagle's `PeakEwma`: a slow answer counts in full, and is forgotten over the next seconds, so
//! that a node which became slow is left at once and asked again later.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Two thirds of an answer are forgotten after this long.
const MEMORY: Duration = Duration::from_secs(10);
/// What is assumed of a node that never answered, so that it is not flooded before its first answer.
const ASSUMED_US: u32 = 1000;

/// A latency that many tasks read and write without a lock.
#[derive(Debug)]
pub(crate) struct Latency {
    epoch: Instant,
    /// Milliseconds since the epoch in the upper half, microseconds of the estimate in the lower.
    packed: AtomicU64,
}

impl Latency {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            packed: AtomicU64::new(u64::from(ASSUMED_US)),
        }
    }

    /// Takes in an answer that took this long.
    pub(crate) fn record(&self, now: Instant, took: Duration) {
        let (at, sample) = (self.stamp(now), micros(took));
        let fold = |packed| {
            let (before, estimate) = unpack(packed);
            Some(pack(at, blend(estimate, at.wrapping_sub(before), sample)))
        };
        // Never fails: `fold` always has a value.
        let _ = self
            .packed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fold);
    }

    /// Takes in that an answer would have taken longer than this.
    pub(crate) fn at_least(&self, now: Instant, waited: Duration) {
        if micros(waited) > self.estimate_us(now) {
            self.record(now, waited);
        }
    }

    /// The expected latency in microseconds; sinks while nothing is heard, so that a slow node is tried again.
    pub(crate) fn estimate_us(&self, now: Instant) -> u32 {
        let (at, estimate) = unpack(self.packed.load(Ordering::Relaxed));
        blend_down(estimate, self.stamp(now).wrapping_sub(at), 0)
    }

    /// Wraps after 49 days, which only makes one answer seem older than it is.
    fn stamp(&self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.epoch).as_millis();
        u32::try_from(since & u128::from(u32::MAX)).unwrap_or(0)
    }
}

fn pack(at: u32, estimate: u32) -> u64 {
    u64::from(at) << 32 | u64::from(estimate)
}

fn unpack(packed: u64) -> (u32, u32) {
    let low = packed & u64::from(u32::MAX);
    (
        u32::try_from(packed >> 32).unwrap_or(0),
        u32::try_from(low).unwrap_or(0),
    )
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

/// The estimate after `sample`, `elapsed_ms` after the one before.
fn blend(estimate: u32, elapsed_ms: u32, sample: u32) -> u32 {
    if sample >= estimate {
        sample
    } else {
        blend_down(estimate, elapsed_ms, sample)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "lies between two numbers of 32 bits"
)]
fn blend_down(estimate: u32, elapsed_ms: u32, toward: u32) -> u32 {
    // Answers within the same millisecond would otherwise never bring the estimate down.
    let elapsed = f64::from(elapsed_ms.max(1)) / MEMORY.as_millis() as f64;
    let (high, low) = (f64::from(estimate.max(toward)), f64::from(toward));
    (low + (high - low) * (-elapsed).exp()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rise_counts_at_once_and_a_fall_slowly() {
        // estimate, milliseconds since, sample, and the range of the new estimate
        let table = [
            (1000, 0, 5000, 5000..=5000),
            (1000, 60_000, 5000, 5000..=5000),
            (5000, 10_000, 1000, 2400..=2500),
            (5000, 100, 1000, 4900..=4970),
            (5000, 600_000, 1000, 1000..=1000),
            (5000, 0, 1000, 4990..=4999),
            (u32::MAX, u32::MAX, 0, 0..=0),
        ];
        for (estimate, elapsed, sample, expected) in table {
            let blended = blend(estimate, elapsed, sample);
            assert!(
                expected.contains(&blended),
                "{estimate} {elapsed} {sample}: {blended}"
            );
        }
    }

    #[test]
    fn a_node_that_is_left_alone_looks_better_with_time() {
        let start = Instant::now();
        let latency = Latency::new(start);
        assert!((990..=1000).contains(&latency.estimate_us(start)));
        latency.record(start, Duration::from_millis(500));
        let seen = |seconds| latency.estimate_us(start + Duration::from_secs(seconds));
        assert!(seen(0) >= 499_000);
        assert!((180_000..190_000).contains(&seen(10)));
        assert!(seen(120) < 10);
        latency.record(start, Duration::MAX);
        assert!(seen(0) > 4_000_000_000);
    }
}
