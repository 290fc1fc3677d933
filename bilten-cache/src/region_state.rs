use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::admission::{Admission, Full, Place};
use crate::clock::{Nanos, nanos};
use crate::codec::{Codec, without_values};
use crate::engine::{Engine, Start};
use crate::entry::Entry;
use crate::error::{Error, SharedError};
use crate::events::{self, Event, Refusal};
use crate::job::Job;
use crate::kept::Kept;
use crate::loader::{MAX_TAG_BYTES, MAX_TAGS};
use crate::memory::Glance;
use crate::options::Options;
use crate::outlook::Outlook;
use crate::reading::Reading;
use crate::remote::Gate;
use crate::single_flight::{Flights, Hurry, Seat};
use crate::staleness::{Course, RefreshAhead};
use crate::stats::RegionMeters;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Memory,
    Remote,
    Loader,
    /// Memory, whose value was out of date; there was no better one.
    Stale,
    /// The second level, in the same way.
    StaleRemote,
}

#[cfg(feature = "http")]
impl Level {
    /// The same with a value whose time is over.
    pub(crate) fn stale(self) -> Self {
        match self {
            Self::Remote | Self::StaleRemote => Self::StaleRemote,
            Self::Memory | Self::Loader | Self::Stale => Self::Stale,
        }
    }
}

/// What a flight brings back.
pub(crate) type Landed<V> = Result<(Arc<V>, Level), Error>;

/// A value that is larger than its region keeps: it goes to whoever asked, and to neither level.
#[derive(Debug)]
pub(crate) struct TooLarge<V> {
    pub(crate) value: Arc<V>,
}

pub(crate) type Weigher<V> = Arc<dyn Fn(&V) -> usize + Send + Sync>;

/// What all handles of a region share.
pub(crate) struct RegionState<V> {
    pub(crate) engine: Arc<Engine>,
    pub(crate) name: Arc<str>,
    pub(crate) options: Options,
    pub(crate) codec: Option<Codec<V>>,
    pub(crate) weigher: Option<Weigher<V>>,
    /// Which values say that there is nothing.
    pub(crate) is_negative: Option<fn(&V) -> bool>,
    pub(crate) flights: Arc<Flights<Landed<V>, Start>>,
    pub(crate) meters: Arc<RegionMeters>,
    pub(crate) admission: Admission,
    pub(crate) outlook: Outlook,
    pub(crate) key_type: &'static str,
    /// Whether a value has come back from its serialised form.
    pub(crate) proven: AtomicBool,
    /// Whether it was told that entries do not decode.
    pub(crate) told_undecodable: AtomicBool,
    /// Whether it was told that values do not serialise.
    pub(crate) told_unencodable: AtomicBool,
    /// Whether it was told that values are too large.
    pub(crate) told_too_large: AtomicBool,
    /// Whether it was told that values have tags which cannot be kept.
    pub(crate) told_tags: AtomicBool,
}

impl<V: Send + Sync + 'static> RegionState<V> {
    /// The value, if L1 may serve it. Nothing here allocates, decodes or waits.
    pub(crate) fn hit(&self, key: &str) -> Option<Arc<V>> {
        match self.engine.glance(key) {
            Glance::Hit(value) => Some(value),
            Glance::Look(entry) => {
                let now = self.engine.clock.now();
                self.engine
                    .serves(key, &entry, now)
                    .then(|| entry.value())?
            }
            Glance::Nothing => None,
        }
    }

    /// The same for `get_or_load`, with when the value was made if it is time to load anew.
    pub(crate) fn hit_or_due(&self, key: &str) -> Option<(Arc<V>, Option<u64>)> {
        let entry = match self.engine.glance(key) {
            Glance::Hit(value) => return Some((value, None)),
            Glance::Look(entry) => entry,
            Glance::Nothing => return None,
        };
        let now = self.engine.clock.now();
        if !self.engine.serves(key, &entry, now) {
            return None;
        }
        let due =
            (now >= entry.due_from && self.is_due(&entry, now)).then_some(entry.created_millis);
        Some((entry.value()?, due))
    }

    #[cold]
    fn is_due(&self, entry: &Entry, now: Nanos) -> bool {
        if let Some(idle) = self.options.time_to_idle {
            entry.touch(now, nanos(idle));
            return false;
        }
        let ahead = self.options.ahead;
        now >= entry.age().retry_at
            && ahead.is_due(now, entry.ends, entry.load_time(), fastrand::f64())
    }

    /// The value, if L1 may serve it and it was made later than `than`.
    pub(crate) fn hit_newer(&self, key: &str, than: Option<u64>) -> Option<Arc<V>> {
        let entry = self.engine.memory.find(key)?;
        let now = self.engine.clock.now();
        if !self.engine.serves(key, &entry, now) {
            return None;
        }
        let newer = than.is_none_or(|than| entry.created_millis > than);
        newer.then(|| entry.value())?
    }

    /// What L1 has of the key, fresh or stale, if this region has a use for stale values or refreshes ahead.
    pub(crate) fn retained(&self, key: &str) -> Option<Kept> {
        let keeps = self.options.windows.keep() || self.options.ahead != RefreshAhead::Off;
        keeps.then(|| self.engine.retained(key, self.engine.clock.now()))?
    }

    /// What to do with the stale value that L1 has of the key.
    pub(crate) fn course(&self, key: &str) -> Option<(Arc<V>, Course)> {
        if !self.options.windows.keep() {
            return None;
        }
        let entry = self.retained(key)?;
        Some((entry.value()?, self.course_of(&entry)))
    }

    pub(crate) fn course_of(&self, entry: &Entry) -> Course {
        let now = self.engine.clock.now();
        entry.age().course(&self.options.windows, now)
    }

    /// Whether readers get the entry's value at once.
    pub(crate) fn is_served(&self, entry: &Entry) -> bool {
        let now = self.engine.clock.now();
        entry.is_fresh(now) || self.course_of(entry) != Course::Load
    }

    /// The value of an entry that stands in for a load which failed.
    pub(crate) fn if_error(&self, entry: &Entry) -> Option<Arc<V>> {
        let now = self.engine.clock.now();
        entry
            .age()
            .serves_after_error(&self.options.windows, now)
            .then(|| entry.value())?
    }

    /// The same for a key of L1.
    pub(crate) fn stand_in(&self, key: &str) -> Option<Arc<V>> {
        self.if_error(&*self.retained(key)?)
    }

    /// Until when a load that failed now is not tried again.
    pub(crate) fn retry_at(&self) -> Nanos {
        let now = self.engine.clock.now();
        now.saturating_add(nanos(self.options.retry_after))
    }

    /// So many reads that have to wait for their answers.
    pub(crate) fn reading(&self, reads: usize) -> Reading<'_> {
        Reading::of(&self.meters, reads)
    }

    /// Counts a read, once, by where its answer came from.
    pub(crate) fn answered(&self, key: &str, from: Option<Level>) {
        match from {
            Some(Level::Memory) => self.hit_memory(key),
            Some(Level::Stale) => {
                self.meters.hits_memory.add(1);
                self.meters.stale.add(1);
                self.tell(|| hit(key, events::Level::Memory, true));
            }
            Some(Level::Remote) => {
                self.meters.hits_remote.add(1);
                self.tell(|| hit(key, events::Level::Remote, false));
            }
            Some(Level::StaleRemote) => {
                self.meters.hits_remote.add(1);
                self.meters.stale.add(1);
                self.tell(|| hit(key, events::Level::Remote, true));
            }
            Some(Level::Loader) | None => {
                self.meters.misses.add(1);
                self.tell(|| Event::Miss { key: key.into() });
            }
        }
    }

    /// The usual one of them.
    #[inline]
    pub(crate) fn hit_memory(&self, key: &str) {
        self.meters.hits_memory.add(1);
        self.tell(|| hit(key, events::Level::Memory, false));
    }

    /// Counts a value that was not kept.
    pub(crate) fn refused(&self, key: &str, why: Refusal) {
        let meter = match why {
            Refusal::Changed => &self.meters.fills_refused,
            Refusal::LeaseLost => &self.meters.stores_refused,
            Refusal::Overloaded => &self.meters.stores_left_out,
            Refusal::Unencodable => &self.meters.unencodable,
            Refusal::Undecodable => &self.meters.undecodable,
            Refusal::TooLarge => &self.meters.too_large,
            Refusal::Tags => &self.meters.tags_refused,
        };
        meter.add(1);
        self.tell(|| Event::Refused {
            key: key.into(),
            why,
        });
    }

    #[inline]
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.engine.teller.tell(event);
    }

    /// Whether nothing may be changed from here.
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.read_only || self.engine.read_only
    }

    /// Waits until a load may run: of this region first, then of all. Not one that was called by another load, nor one that another load
    /// waits for: that one may have the place.
    pub(crate) async fn admit(
        &self,
        job: &Job,
        until: Instant,
        hurry: &Hurry,
    ) -> Result<[Place<'_>; 2], Error> {
        if job.is_nested() {
            return Ok([None, None]);
        }
        tokio::select! {
            biased;
            () = hurry.needed() => Ok([None, None]),
            places = self.enter(job.timeout, until) => places,
        }
    }

    /// The same, if nobody has to wait for it.
    pub(crate) fn admit_now(&self, job: &Job, hurry: &Hurry) -> Option<[Place<'_>; 2]> {
        // That of many keys has a place as a whole.
        if job.is_nested() || job.how.asked.is_some() || hurry.is_up() {
            return Some([None, None]);
        }
        Some([self.admission.now()?, self.engine.admission.now()?])
    }

    async fn enter(&self, patience: Duration, until: Instant) -> Result<[Place<'_>; 2], Error> {
        let full = |full: Full| {
            self.meters.loads_refused.add(1);
            Error::Overloaded {
                region: Arc::clone(&self.name),
                limit: full.limit,
                after: patience,
            }
        };
        let region = self.admission.enter(until).await.map_err(full)?;
        let all = self.engine.admission.enter(until).await.map_err(full)?;
        Ok([region, all])
    }

    /// What those get whose flight is lost.
    pub(crate) fn lost(&self) -> Landed<V> {
        Err(Error::LoadAbandoned {
            region: Arc::clone(&self.name),
        })
    }

    /// A seat on the key's flight, after ours has landed with a stale value.
    pub(crate) fn board_anew(&self, key: &Arc<str>) -> Seat<Landed<V>, Start> {
        let begin = || self.engine.start(key);
        self.flights.board(key, |_| true, begin, self.lost(), false)
    }

    /// L2, if values of this region go there and it may be read for this key now.
    pub(crate) fn readable(&self, key: &str) -> Option<&Gate> {
        self.codec.as_ref().and_then(|_| self.engine.readable(key))
    }

    pub(crate) fn encode_error(&self, key: &str, source: SharedError) -> Error {
        self.refused(key, Refusal::Unencodable);
        Error::Encode {
            region: Arc::clone(&self.name),
            key: self.key_type,
            value: std::any::type_name::<V>(),
            source,
        }
    }

    /// Counts a value that is larger than the region keeps.
    pub(crate) fn too_large(&self, key: &str, value: Arc<V>) -> TooLarge<V> {
        self.refused(key, Refusal::TooLarge);
        TooLarge { value }
    }

    pub(crate) fn too_large_error(&self) -> Error {
        Error::TooLarge {
            region: Arc::clone(&self.name),
            value: std::any::type_name::<V>(),
            limit: self.options.max_value_bytes,
        }
    }

    /// Tells the first loaded value that is too large.
    pub(crate) fn served_only(&self) {
        if !self.told_too_large.swap(true, Ordering::Relaxed) {
            let error = self.too_large_error();
            tracing::warn!(%error, "a loaded value is served and not kept; further ones of this region are counted");
        }
    }

    /// Counts a value whose tags cannot be kept, and tells the first of them.
    pub(crate) fn too_many_tags(&self, key: &str) {
        self.refused(key, Refusal::Tags);
        if !self.told_tags.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                cache = %self.engine.name,
                region = %self.name,
                most = MAX_TAGS,
                longest = MAX_TAG_BYTES,
                "a value has too many tags or one that is too long: it is served and not kept; further ones of this region are counted"
            );
        }
    }

    /// Tells the first entry that has all that it should and is no value of this type.
    pub(crate) fn undecodable(&self, error: &SharedError) {
        if !self.told_undecodable.swap(true, Ordering::Relaxed) {
            let error = without_values(&error.to_string());
            tracing::warn!(
                cache = %self.engine.name,
                region = %self.name,
                value = std::any::type_name::<V>(),
                error,
                "an entry of the second level cannot be read and is a miss: raise `schema_version` with each change of the type; further ones of this region are counted"
            );
        }
    }

    /// Counts a loaded value that does not serialise and tells the first of them: the next ones are of the same type.
    pub(crate) fn kept_in_memory_only(&self, key: &str, source: SharedError) {
        let error = self.encode_error(key, source);
        if !self.told_unencodable.swap(true, Ordering::Relaxed) {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.map(|told| without_values(&told));
            tracing::warn!(%error, cause, "a value is kept in memory only; further ones of this region are counted");
        }
    }
}

fn hit(key: &str, level: events::Level, stale: bool) -> Event {
    Event::Hit {
        key: key.into(),
        level,
        stale,
    }
}

impl<V> fmt::Debug for RegionState<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionState")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
