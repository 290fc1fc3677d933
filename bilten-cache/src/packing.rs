//! Between a value and the forms in which the two levels keep it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Nanos, nanos};
use crate::codec::{Codec, Unencodable, compress, decompress};
use crate::engine::Start;
use crate::entry::{Began, Entry, Extras, Life, spread, weigh};
use crate::envelope::{Draft, Envelope};
use crate::error::SharedError;
use crate::events::Refusal;
use crate::loader::Loaded;
use crate::options::LONGEST;
use crate::region_state::{RegionState, TooLarge};
use crate::staleness::{end_of, signed};

/// A loaded value in the forms that the levels keep.
#[derive(Debug)]
pub(crate) struct Packed<V> {
    pub(crate) value: Arc<V>,
    pub(crate) entry: Entry,
    pub(crate) keep: Duration,
    /// `None` when there is no L2; an error when the value does not serialise.
    pub(crate) envelope: Option<Result<Draft, SharedError>>,
}

/// Why nothing can be made of what L2 holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    Undecodable,
    /// Older than a change of its key: a fail-over has brought it back.
    Outrun,
    /// Its time is over, or it was invalidated.
    Over,
}

type Serialised = Result<Bytes, SharedError>;

/// Why a value that was written is not kept.
#[derive(Debug, thiserror::Error)]
#[error("it was written in a form that cannot be read back: {0}")]
struct Unreadable(SharedError);

fn unreadable(error: SharedError) -> SharedError {
    Arc::new(Unreadable(error))
}

impl<V: Send + Sync + 'static> RegionState<V> {
    /// Makes an entry of what L2 holds, if it is one of ours and still good. Counts nothing: that is for who wanted to read it.
    pub(crate) fn open(
        &self,
        key: &str,
        bytes: &Bytes,
        start: &Start,
    ) -> Result<(Arc<V>, Entry), Shut> {
        let codec = self.codec.as_ref().ok_or(Shut::Over)?;
        let envelope = Envelope::decode(bytes, &self.name, key).ok_or(Shut::Undecodable)?;
        let now = self.engine.clock.now();
        let coherence = &self.engine.coherence;
        let began = Began {
            position: envelope.position,
            generation: start.began.generation,
            incarnation: envelope.incarnation,
        };
        let ends = end_of(
            now,
            envelope.created_millis,
            envelope.fresh_millis,
            coherence.server_millis(now),
        );
        // What a fail-over brought back is known by the records of its key, which the log still has.
        let changed = coherence.changed(key);
        if envelope.follows() < changed.removed || coherence.may_be_brought_back(envelope.position)
        {
            return Err(Shut::Outrun);
        }
        let expired = envelope.expired || envelope.follows() < changed.expired;
        let fresh = ends > signed(now) && !expired;
        let kept_until = self.kept_until(ends);
        let of_use = fresh || (kept_until > now && self.options.windows.keep());
        if !of_use
            || envelope.incarnation != coherence.incarnation()
            || !coherence.is_valid(key, &envelope.tags, began)
        {
            return Err(Shut::Over);
        }
        let payload = self.payload(&envelope).ok_or(Shut::Undecodable)?;
        let value = codec.decode(&payload);
        let value = value.inspect_err(|error| self.undecodable(error));
        let value = value.map_err(|_| Shut::Undecodable)?;
        let (value, payload_bytes) = (Arc::new(value), payload.len());
        let weight = self.weight(key, self.weighed(&value).or(Some(payload_bytes)));
        let left =
            Duration::from_nanos(u64::try_from(ends.saturating_sub(signed(now))).unwrap_or(0));
        let fresh_until = now.saturating_add(nanos(self.in_memory(left)));
        let load_time = Duration::from_millis(envelope.load_millis.into());
        let time_to_live = Duration::from_millis(envelope.fresh_millis);
        let life = Life {
            // Without the log nobody knows what was invalidated since it was stored.
            known_at: 0,
            fresh_until: if fresh { fresh_until } else { 0 },
            due_from: self.due_from(ends, time_to_live, load_time),
            ends,
            kept_until: kept_until.max(self.whole_life(fresh_until, ends)),
            load_time: nanos(load_time),
            created_millis: envelope.created_millis,
            weight,
        };
        let extras = Extras {
            tags: envelope.tags.into(),
            validators: envelope.validators,
        };
        let entry = Entry::new(Arc::clone(&value), extras, began, life);
        Ok((value, entry))
    }

    /// Counts a value that was read and is of no use.
    pub(crate) fn shut(&self, key: &str, why: Shut) {
        match why {
            Shut::Undecodable => self.refused(key, Refusal::Undecodable),
            Shut::Outrun => self.meters.outrun.add(1),
            Shut::Over => {}
        }
    }

    /// The serialised value, if this region can make something of it.
    pub(crate) fn payload(&self, envelope: &Envelope<'_>) -> Option<Bytes> {
        let ours = self
            .codec
            .is_some_and(|codec| codec.format.code == envelope.format);
        if !ours || envelope.schema != self.options.schema_version {
            return None;
        }
        let limit = self.options.max_value_bytes;
        if envelope.compressed {
            return decompress(&envelope.payload, limit);
        }
        (envelope.payload.len() <= limit).then(|| envelope.payload.clone())
    }

    /// Prepares a value for both levels.
    ///
    /// # Errors
    ///
    /// The value, if it is too large for them.
    pub(crate) fn pack(
        &self,
        key: &str,
        loaded: Loaded<V>,
        began: Began,
        load_time: Duration,
    ) -> Result<Packed<V>, TooLarge<V>> {
        let Some((heap_bytes, payload)) = self.serialised(&loaded.value) else {
            return Err(self.too_large(key, loaded.value));
        };
        // Once: a value that lives on has had its share.
        let random = if loaded.extended {
            0.0
        } else {
            fastrand::f64()
        };
        let fresh = loaded
            .time_to_live
            .unwrap_or_else(|| self.time_to_live_of(&loaded.value));
        // A store refuses what runs out beyond its calendar.
        let fresh = spread(fresh.min(LONGEST), self.options.jitter, random);
        let keep = fresh.saturating_add(self.options.windows.longest());
        self.engine
            .longest_life
            .fetch_max(nanos(keep), Ordering::Relaxed);
        let validators = loaded.validators.checked();
        let now = self.engine.clock.now();
        let created_millis = self.engine.coherence.server_millis(now);
        let envelope = payload
            .filter(|_| self.engine.gate.is_some())
            .map(|payload| {
                let (payload, compressed) = self.compressed(payload?);
                let envelope = Envelope {
                    position: began.position,
                    expired: false,
                    incarnation: began.incarnation,
                    created_millis,
                    fresh_millis: u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX),
                    load_millis: u32::try_from(load_time.as_millis()).unwrap_or(u32::MAX),
                    schema: self.options.schema_version,
                    region: &self.name,
                    key,
                    tags: loaded.tags.clone(),
                    validators: validators.clone(),
                    format: self.codec.map_or(0, |codec| codec.format.code),
                    compressed,
                    placed: true,
                    claim: None,
                    payload,
                };
                Ok(envelope.draft())
            });
        let ends = signed(now.saturating_add(nanos(fresh)));
        let fresh_until = now.saturating_add(nanos(self.in_memory(fresh)));
        let life = Life {
            known_at: now.saturating_sub(nanos(load_time)),
            fresh_until,
            due_from: self.due_from(ends, fresh, load_time),
            ends,
            kept_until: self
                .kept_until(ends)
                .max(self.whole_life(fresh_until, ends)),
            load_time: nanos(load_time),
            created_millis,
            weight: self.weight(key, heap_bytes),
        };
        let extras = Extras {
            tags: loaded.tags.into(),
            validators,
        };
        let entry = Entry::new(Arc::clone(&loaded.value), extras, began, life);
        Ok(Packed {
            value: loaded.value,
            entry,
            keep,
            envelope,
        })
    }

    /// What the value has on the heap, for which its serialised length stands, and that form of it. `None`: it is too large.
    fn serialised(&self, value: &V) -> Option<(Option<usize>, Option<Serialised>)> {
        let limit = self.options.max_value_bytes;
        let weighed = self.weighed(value);
        if weighed.is_some_and(|bytes| bytes > limit) {
            return None;
        }
        let Some(codec) = &self.codec else {
            return Some((weighed, None));
        };
        match codec.encode(value, limit) {
            Ok(payload) => Some((
                weighed.or(Some(payload.len())),
                Some(self.proven(codec, payload)),
            )),
            // At least that much, so that the budget of memory holds for such values too.
            Err(Unencodable::Failed(error, written)) => {
                Some((weighed.or(Some(written)), Some(Err(error))))
            }
            Err(Unencodable::TooLarge) => None,
        }
    }

    /// A region's first value is read back before the second level gets it. A type can be written in forms that nobody reads again, and
    /// each of its values would be stored for nobody.
    fn proven(&self, codec: &Codec<V>, payload: Bytes) -> Serialised {
        if self.engine.gate.is_some() && !self.proven.load(Ordering::Relaxed) {
            codec.decode(&payload).map_err(unreadable)?;
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(payload)
    }

    /// The payload as the second level gets it, and whether it is compressed.
    fn compressed(&self, payload: Bytes) -> (Bytes, bool) {
        let long = |above: usize| payload.len() > above;
        let shorter = self.options.compress_above.filter(|above| long(*above));
        match shorter.and_then(|_| compress(&payload)) {
            Some(shorter) => (shorter, true),
            None => (payload, false),
        }
    }

    fn time_to_live_of(&self, value: &V) -> Duration {
        let negative = self
            .is_negative
            .is_some_and(|is_negative| is_negative(value));
        self.options
            .negative_time_to_live
            .filter(|_| negative)
            .unwrap_or(self.options.time_to_live)
    }

    /// When nobody has a use for the value any more. L1 gives one up early that is of no use when it is stale.
    fn kept_until(&self, ends: i64) -> Nanos {
        let longest = self.options.windows.longest();
        if longest.is_zero() {
            return 0;
        }
        u64::try_from(ends.saturating_add(signed(nanos(longest)))).unwrap_or(0)
    }

    fn in_memory(&self, left: Duration) -> Duration {
        let limits = [self.options.memory_time_to_live, self.options.time_to_idle];
        limits.into_iter().flatten().fold(left, Duration::min)
    }

    /// From when on reads have to ask what is due: where they keep an entry alive, always.
    fn due_from(&self, ends: i64, time_to_live: Duration, load_time: Duration) -> Nanos {
        match self.options.time_to_idle {
            Some(_) => 0,
            None => self.options.ahead.due_from(ends, time_to_live, load_time),
        }
    }

    /// Until when reads can keep an entry alive.
    fn whole_life(&self, fresh_until: Nanos, ends: i64) -> Nanos {
        match self.options.time_to_idle {
            Some(_) => u64::try_from(ends).unwrap_or(0),
            None => fresh_until,
        }
    }

    /// What the region's weigher says. One that panics has no business to end a load.
    fn weighed(&self, value: &V) -> Option<usize> {
        let weigher = self.weigher.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| weigher(value))).ok()
    }

    fn weight(&self, key: &str, value_bytes: Option<usize>) -> u32 {
        weigh(
            key,
            value_bytes
                .unwrap_or(0)
                .saturating_add(size_of::<V>())
                .min(u32::MAX as usize / 2),
        )
    }
}
