use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::nanos;
use crate::codec::Codec;
use crate::engine::{Engine, Start};
use crate::entry::{Began, Entry, Life, remaining, spread, weigh};
use crate::envelope::Envelope;
use crate::error::{Error, SharedError};
use crate::loader::Loaded;
use crate::remote::Gate;
use crate::single_flight::Flights;
use crate::stats::RegionMeters;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Memory,
    Remote,
    Loader,
}

/// What a flight brings back.
pub(crate) type Landed<V> = Result<(Arc<V>, Level), Error>;

pub(crate) type Weigher<V> = Arc<dyn Fn(&V) -> usize + Send + Sync>;

/// What all handles of a region share.
pub(crate) struct RegionState<V> {
    pub(crate) engine: Arc<Engine>,
    pub(crate) name: Arc<str>,
    pub(crate) options: Options,
    pub(crate) codec: Option<Codec<V>>,
    pub(crate) weigher: Option<Weigher<V>>,
    pub(crate) flights: Arc<Flights<Landed<V>, Start>>,
    pub(crate) meters: Arc<RegionMeters>,
    pub(crate) key_type: &'static str,
}

/// What a region was told when it was built.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    pub(crate) time_to_live: Duration,
    pub(crate) memory_time_to_live: Option<Duration>,
    pub(crate) jitter: Duration,
    pub(crate) load_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) schema_version: u32,
}

/// A loaded value in the forms that the levels keep.
#[derive(Debug)]
pub(crate) struct Packed<V> {
    pub(crate) value: Arc<V>,
    pub(crate) entry: Entry,
    pub(crate) keep: Duration,
    /// `None` when there is no L2; an error when the value does not serialise.
    pub(crate) envelope: Option<Result<Bytes, SharedError>>,
}

impl<V: Send + Sync + 'static> RegionState<V> {
    /// The value, if L1 may serve it. Nothing here allocates, decodes or waits.
    pub(crate) fn hit(&self, key: &str) -> Option<Arc<V>> {
        self.engine.hit(key, self.engine.clock.now())?.value()
    }

    /// L2, if values of this region go there and it may be read for this key now.
    pub(crate) fn readable(&self, key: &str) -> Option<&Gate> {
        self.codec.as_ref().and_then(|_| self.engine.readable(key))
    }

    /// Makes an entry of what L2 holds, if it is one of ours and still good.
    pub(crate) fn open(&self, key: &str, bytes: &Bytes, start: &Start) -> Option<(Arc<V>, Entry)> {
        let codec = self.codec.as_ref()?;
        let Some(envelope) = Envelope::decode(bytes, &self.name, key) else {
            self.meters.undecodable.add(1);
            return None;
        };
        let now = self.engine.clock.now();
        let coherence = &self.engine.coherence;
        let began = Began {
            position: envelope.position,
            generation: start.began.generation,
            incarnation: envelope.incarnation,
        };
        let left = remaining(
            envelope.created_millis,
            envelope.fresh_millis,
            coherence.server_millis(now),
        )?;
        if envelope.incarnation != coherence.incarnation()
            || !coherence.is_valid(key, &envelope.tags, began)
        {
            return None;
        }
        let decoded = (envelope.schema == self.options.schema_version)
            .then(|| (codec.decode)(&envelope.payload));
        let Some(Ok(value)) = decoded else {
            self.meters.undecodable.add(1);
            return None;
        };
        let value = Arc::new(value);
        let weight = self.weight(key, &value, Some(envelope.payload.len()));
        let life = Life {
            // Without the log nobody knows what was invalidated since it was stored.
            known_at: 0,
            fresh_until: now.saturating_add(nanos(self.in_memory(left))),
            weight,
        };
        let entry = Entry::new(Arc::clone(&value), envelope.tags.into(), began, life);
        Some((value, entry))
    }

    /// Prepares a value for both levels.
    pub(crate) fn pack(
        &self,
        key: &str,
        loaded: Loaded<V>,
        began: Began,
        load_time: Duration,
    ) -> Packed<V> {
        let keep = loaded.time_to_live.unwrap_or(self.options.time_to_live);
        let keep = spread(keep, self.options.jitter, fastrand::f64());
        self.engine
            .longest_life
            .fetch_max(nanos(keep), Ordering::Relaxed);
        let now = self.engine.clock.now();
        let payload = self
            .codec
            .as_ref()
            .map(|codec| (codec.encode)(&loaded.value));
        let payload_bytes = payload
            .as_ref()
            .and_then(|p| p.as_ref().ok())
            .map(Bytes::len);
        let envelope = payload
            .filter(|_| self.engine.gate.is_some())
            .map(|payload| {
                let envelope = Envelope {
                    position: began.position,
                    incarnation: began.incarnation,
                    created_millis: self.engine.coherence.server_millis(now),
                    fresh_millis: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
                    load_millis: u32::try_from(load_time.as_millis()).unwrap_or(u32::MAX),
                    schema: self.options.schema_version,
                    region: &self.name,
                    key,
                    tags: loaded.tags.clone(),
                    payload: payload?,
                };
                Ok(envelope.encode())
            });
        let weight = self.weight(key, &loaded.value, payload_bytes);
        let life = Life {
            known_at: now.saturating_sub(nanos(load_time)),
            fresh_until: now.saturating_add(nanos(self.in_memory(keep))),
            weight,
        };
        let entry = Entry::new(Arc::clone(&loaded.value), loaded.tags.into(), began, life);
        Packed {
            value: loaded.value,
            entry,
            keep,
            envelope,
        }
    }

    pub(crate) fn encode_error(&self, source: SharedError) -> Error {
        self.meters.unencodable.add(1);
        Error::Encode {
            region: Arc::clone(&self.name),
            key: self.key_type,
            value: std::any::type_name::<V>(),
            source,
        }
    }

    fn in_memory(&self, left: Duration) -> Duration {
        self.options
            .memory_time_to_live
            .map_or(left, |limit| left.min(limit))
    }

    fn weight(&self, key: &str, value: &V, payload_bytes: Option<usize>) -> u32 {
        let value_bytes = match &self.weigher {
            Some(weigher) => weigher(value),
            // The serialised length stands for what the value has on the heap.
            None => payload_bytes.unwrap_or(0),
        };
        weigh(
            key,
            value_bytes
                .saturating_add(size_of::<V>())
                .min(u32::MAX as usize / 2),
        )
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
