use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{NEVER, Nanos};
use crate::staleness::Age;

/// What an entry costs beside its key and its value: its share of the index and of a slab, and the entry itself. A policy that needs more adds
/// it. A test compares the sum with what is allocated.
const OVERHEAD: usize = 256;

/// Steps of 67 ms, in which 2^32 are nine years of a process.
const KNOWN_SHIFT: u32 = 26;
const SECOND: Nanos = 1_000_000_000;

/// One entry of L1. A hit clones the `Arc` of the value and changes nothing but, now and then, `checked`.
pub(crate) struct Entry {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    /// Most entries have none.
    extras: Option<Box<Extras>>,
    /// The log position that its read had seen.
    pub(crate) position: u64,
    /// Lowered by `expire`.
    fresh_until: AtomicU64,
    /// From when on a read has to ask whether it loads anew ahead of time.
    pub(crate) due_from: Nanos,
    /// When the time to live ends, which L1 may cut short for itself. Can lie before the clock's beginning.
    pub(crate) ends: i64,
    /// When it was made, by the store's clock: the same on every node that has it.
    pub(crate) created_millis: u64,
    /// Until when its load is not tried again.
    retry_at: AtomicU64,
    /// The marker epoch at which the entry was last found valid.
    checked: AtomicU64,
    // Less exact than they could be: there are many entries.
    generation: u32,
    known_at: u32,
    kept_until: u32,
    load_micros: u32,
    pub(crate) weight: u32,
    /// The era in which the policy was told last that somebody reads it.
    told: AtomicU32,
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
        extras: Extras,
        began: Began,
        life: Life,
    ) -> Self {
        Self {
            value,
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
            position: began.position,
            fresh_until: AtomicU64::new(life.fresh_until),
            due_from: life.due_from,
            ends: life.ends,
            created_millis: life.created_millis,
            retry_at: AtomicU64::new(0),
            checked: AtomicU64::new(u64::MAX),
            generation: short(began.generation),
            known_at: short(life.known_at >> KNOWN_SHIFT),
            kept_until: short(life.kept_until.div_ceil(SECOND)),
            load_micros: short(life.load_time / 1_000),
            weight: life.weight,
            told: AtomicU32::new(0),
        }
    }

    pub(crate) fn tags(&self) -> &[Arc<str>] {
        self.extras.as_ref().map_or(&[], |extras| &extras.tags)
    }

    pub(crate) fn validators(&self) -> Option<&Validators> {
        self.extras.as_ref()?.validators.as_ref()
    }

    /// What was known when its read began. Its log matters to envelopes only: in another one there is no such generation.
    pub(crate) fn began(&self) -> Began {
        Began {
            position: self.position,
            generation: self.generation.into(),
            incarnation: 0,
        }
    }

    /// Until when the value is known to be right without the log: a little before its load began, or 0 if only the log vouches for it.
    pub(crate) fn known_at(&self) -> Nanos {
        Nanos::from(self.known_at) << KNOWN_SHIFT
    }

    /// When nobody has a use for it any more: a second after that, at most.
    pub(crate) fn kept_until(&self) -> Nanos {
        match self.kept_until {
            u32::MAX => NEVER,
            seconds => Nanos::from(seconds) * SECOND,
        }
    }

    /// How long its load took, an hour at most.
    pub(crate) fn load_time(&self) -> Nanos {
        Nanos::from(self.load_micros) * 1_000
    }

    pub(crate) fn was_told_in(&self, era: u32) -> bool {
        self.told.load(Ordering::Relaxed) == era
    }

    pub(crate) fn told_in(&self, era: u32) {
        self.told.store(era, Ordering::Relaxed);
    }

    pub(crate) fn is_fresh(&self, now: Nanos) -> bool {
        now < self.fresh_until.load(Ordering::Relaxed)
    }

    /// Whether at `now` it is fresh, and nobody has to ask whether to load anew.
    pub(crate) fn is_plain(&self, now: Nanos) -> bool {
        self.is_fresh(now) && now < self.due_from
    }

    pub(crate) fn fresh_left(&self, now: Nanos) -> Nanos {
        self.fresh_until.load(Ordering::Relaxed).saturating_sub(now)
    }

    /// A read keeps it for another while, within its time to live.
    pub(crate) fn touch(&self, now: Nanos, idle: Nanos) {
        let until = now
            .saturating_add(idle)
            .min(u64::try_from(self.ends).unwrap_or(0));
        let known = self.fresh_until.load(Ordering::Relaxed);
        // Not at each read, so that readers do not fight for it.
        if known > 0 && until > known.saturating_add(idle >> 4) {
            // An `expire` in between wins.
            let relaxed = Ordering::Relaxed;
            let _ = self
                .fresh_until
                .compare_exchange(known, until, relaxed, relaxed);
        }
    }

    /// Ends its freshness now; as a stale value it lives on.
    pub(crate) fn expire(&self) {
        self.fresh_until.store(0, Ordering::Relaxed);
    }

    /// Ends its freshness then, if it does not end earlier.
    pub(crate) fn fresh_at_most_until(&self, until: Nanos) {
        self.fresh_until.fetch_min(until, Ordering::Relaxed);
    }

    /// Its load failed: not again before `at`. Whether this is news.
    pub(crate) fn retry_at(&self, at: Nanos) -> bool {
        self.retry_at.fetch_max(at, Ordering::Relaxed) == 0
    }

    pub(crate) fn age(&self) -> Age {
        Age {
            ends: self.ends,
            expired: self.fresh_until.load(Ordering::Relaxed) == 0,
            retry_at: self.retry_at.load(Ordering::Relaxed),
        }
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
            .field("began", &self.began())
            .field("age", &self.age())
            .finish_non_exhaustive()
    }
}

fn short(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How long an entry of L1 lives and what it weighs; see [`Entry`] for the fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) known_at: Nanos,
    pub(crate) fresh_until: Nanos,
    pub(crate) due_from: Nanos,
    pub(crate) ends: i64,
    pub(crate) kept_until: Nanos,
    pub(crate) load_time: Nanos,
    pub(crate) created_millis: u64,
    pub(crate) weight: u32,
}

/// What came with a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) tags: Box<[Arc<str>]>,
    pub(crate) validators: Option<Validators>,
}

/// By what a loader asks its source whether a value is still good. Opaque to the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Validators {
    pub(crate) etag: Option<Arc<str>>,
    pub(crate) last_modified: Option<Arc<str>>,
}

/// What a source may call its versions; longer ones are left out.
const MAX_VALIDATOR_BYTES: usize = 1_024;

impl Validators {
    /// From the two texts of an envelope, where empty means none.
    pub(crate) fn of(etag: &str, last_modified: &str) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| text.into());
        Self {
            etag: text(etag),
            last_modified: text(last_modified),
        }
    }

    pub(crate) fn texts(&self) -> [&str; 2] {
        [&self.etag, &self.last_modified].map(|text| text.as_deref().unwrap_or_default())
    }

    /// Without what no envelope has room for; `None` when nothing is left.
    pub(crate) fn checked(self) -> Option<Self> {
        let short = |text: &Arc<str>| (1..=MAX_VALIDATOR_BYTES).contains(&text.len());
        let kept = Self {
            etag: self.etag.filter(short),
            last_modified: self.last_modified.filter(short),
        };
        (kept != Self::default()).then_some(kept)
    }
}

/// What an entry weighs in L1, in bytes.
pub(crate) fn weigh(key: &str, value_bytes: usize) -> u32 {
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
    fn a_weight_that_does_not_fit_is_the_largest_one() {
        assert_eq!(weigh("key", usize::MAX - 1_000), u32::MAX);
        assert_eq!(weigh("key", 100), 359);
    }
}
