use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Nanos;

/// What an entry costs beside its key and its value: the maps' nodes and the entry itself.
const OVERHEAD: usize = 192;

/// One entry of L1. A hit clones the `Arc` of the value and changes nothing but, now and then, `checked`.
pub(crate) struct Entry {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) tags: Box<[Arc<str>]>,
    pub(crate) began: Began,
    /// Until when the value is known to be right without the log: when its load began, or 0 if only the log vouches for it.
    pub(crate) known_at: Nanos,
    pub(crate) fresh_until: Nanos,
    pub(crate) weight: u32,
    /// The marker epoch at which the entry was last found valid.
    checked: AtomicU64,
}

/// What was known when the read that made a value began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Began {
    /// The highest log position seen: what happened before it is reflected by the value.
    pub(crate) position: u64,
    /// How often L1 had been flushed.
    pub(crate) generation: u64,
    /// The log that the position belongs to. In another one the number means nothing.
    pub(crate) incarnation: u64,
}

impl Entry {
    pub(crate) fn new<V: Any + Send + Sync>(
        value: Arc<V>,
        tags: Box<[Arc<str>]>,
        began: Began,
        life: Life,
    ) -> Self {
        Self {
            value,
            tags,
            began,
            known_at: life.known_at,
            fresh_until: life.fresh_until,
            weight: life.weight,
            checked: AtomicU64::new(u64::MAX),
        }
    }

    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now < self.fresh_until
    }

    pub(crate) fn was_checked_at(&self, epoch: u64) -> bool {
        self.checked.load(Ordering::Relaxed) == epoch
    }

    pub(crate) fn checked_at(&self, epoch: u64) {
        self.checked.store(epoch, Ordering::Relaxed);
    }

    pub(crate) fn value<V: Any + Send + Sync>(&self) -> Option<Arc<V>> {
        Arc::clone(&self.value).downcast().ok()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("began", &self.began)
            .field("fresh_until", &self.fresh_until)
            .finish_non_exhaustive()
    }
}

/// How long an entry of L1 lives and what it weighs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) known_at: Nanos,
    pub(crate) fresh_until: Nanos,
    pub(crate) weight: u32,
}

/// What an entry weighs in L1, in bytes.
pub(crate) fn weigh(key: &str, value_bytes: usize) -> u32 {
    // Twice the key: moka keeps one and so does whoever loads it.
    u32::try_from(OVERHEAD + key.len() + value_bytes).unwrap_or(u32::MAX)
}

/// The time to live of one entry: `jitter` is spread evenly, so that entries that were stored together do not all
/// run out together. `random` is in `0.0..1.0`.
pub(crate) fn spread(time_to_live: Duration, jitter: Duration, random: f64) -> Duration {
    let jitter = Duration::try_from_secs_f64(jitter.as_secs_f64() * random).unwrap_or(jitter);
    time_to_live
        .saturating_add(jitter)
        .max(Duration::from_millis(1))
}

/// How long an L2 entry is still fresh, by the store's clock; `None` when it is not.
pub(crate) fn remaining(
    created_millis: u64,
    fresh_millis: u64,
    server_millis: u64,
) -> Option<Duration> {
    // An entry from the store's future (it failed over to a slower clock) has all its time left, not more.
    let age = server_millis.saturating_sub(created_millis);
    let left = fresh_millis.saturating_sub(age);
    (left > 0).then(|| Duration::from_millis(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds() {
        let (ttl, jitter) = (Duration::from_secs(60), Duration::from_secs(6));
        assert_eq!(spread(ttl, jitter, 0.0), ttl);
        assert_eq!(spread(ttl, jitter, 0.5), Duration::from_secs(63));
        assert!(spread(ttl, jitter, 0.999_999) <= ttl + jitter);
        assert_eq!(spread(Duration::MAX, Duration::MAX, 0.9), Duration::MAX);
        assert_eq!(
            spread(Duration::from_nanos(5), Duration::ZERO, 0.3),
            Duration::from_millis(1)
        );
    }

    #[test]
    fn remaining_time_follows_the_stores_clock() {
        for (created, fresh, now, expected) in [
            (1_000, 500, 1_000, Some(500)),
            (1_000, 500, 1_499, Some(1)),
            (1_000, 500, 1_500, None),
            (1_000, 500, 9_000, None),
            (1_000, 500, 0, Some(500)),
            (0, u64::MAX, 1, Some(u64::MAX - 1)),
        ] {
            assert_eq!(
                remaining(created, fresh, now),
                expected.map(Duration::from_millis)
            );
        }
    }

    #[test]
    fn a_weight_that_does_not_fit_is_the_largest_one() {
        assert_eq!(weigh("key", usize::MAX - 1_000), u32::MAX);
        assert_eq!(weigh("key", 100), 295);
    }
}
