use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Region;
use crate::admission::Admission;
use crate::codec::Codec;
use crate::error::Error;
use crate::key::Key;
use crate::options::Options;
use crate::outlook::Outlook;
use crate::region_state::{RegionState, Weigher};
use crate::shared::Shared;
use crate::single_flight::Flights;

const MAX_NAME_BYTES: usize = 128;

/// Settings of a [`Region`], from [`Cache::region`](crate::Cache::region).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let cache = bilten_cache::Cache::builder("shop").build().await?;
/// let events = cache
///     .region::<i64, String>("event")
///     .time_to_live(Duration::from_secs(1800))
///     .jitter(Duration::from_secs(60))
///     .schema_version(2)
///     .build()?;
/// # let _ = events;
/// let error = cache.region::<i64, String>("other").time_to_live(Duration::ZERO).build().unwrap_err();
/// assert!(error.to_string().starts_with("time_to_live: it is zero"));
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `build()`"]
pub struct RegionBuilder<K: ?Sized, V> {
    cache: Arc<Shared>,
    name: String,
    pub(crate) options: Options,
    pub(super) codec: Option<Codec<V>>,
    pub(super) weigher: Option<Weigher<V>>,
    pub(super) is_negative: Option<fn(&V) -> bool>,
    key: PhantomData<fn(&K)>,
}

impl<K: Key + ?Sized, V: Send + Sync + 'static> RegionBuilder<K, V> {
    pub(crate) fn new(cache: Arc<Shared>, name: String, codec: Option<Codec<V>>) -> Self {
        Self {
            cache,
            name,
            options: Options::default(),
            codec,
            weigher: None,
            is_negative: None,
            key: PhantomData,
        }
    }

    /// How long a value is fresh, in both levels. Defaults to five minutes; ten years at most. Zero is an error: to not cache
    /// a value, return [`Loaded::uncached`](crate::Loaded::uncached).
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.options.time_to_live = time_to_live;
        self
    }

    /// A shorter time for this process's memory. Defaults to the time to live. Programs that write to Redis or to
    /// the source without this cache are noticed after this time.
    pub fn memory_time_to_live(mut self, time_to_live: impl Into<Option<Duration>>) -> Self {
        self.options.memory_time_to_live = time_to_live.into();
        self
    }

    /// Adds up to this much to each time to live, so that entries stored together do not all run out
    /// together. Defaults to none.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.options.jitter = jitter;
        self
    }

    /// How long a loader may take. Defaults to 30 s. Then it is dropped and everybody who waits gets
    /// [`Error::LoadTimeout`]. It also bounds how long a load waits for that of another process before it begins.
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.options.load_timeout = limit;
        self
    }

    /// How long other processes wait for a load of this one when it has died. Defaults to 2 s; at least 10 ms, at most an hour. A load that
    /// takes longer keeps its lease alive, and the others go on waiting for it, but nobody longer than
    /// [`load_timeout`](Self::load_timeout), or half of it where callers may leave before their load has ended
    /// ([`soft_timeout`](Self::soft_timeout), [`late_results`](Self::late_results)): who waited in vain loads for itself and leaves storing to the
    /// holder.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// How many loads of this region run at once in this process. No limit by default. Who finds no place waits for one, at most for
    /// [`load_timeout`](Self::load_timeout), which counts from when it begins to wait; then it gets
    /// [`Error::Overloaded`], or the stale value that the region allows after an error. A call that loads many keys takes one place; a
    /// load that was called by another loader takes none, because that one would wait for it, nor does one that a loader waits for. Hits and
    /// stale values need no place.
    /// [`CacheBuilder::max_concurrent_loads`](crate::CacheBuilder::max_concurrent_loads) bounds all regions together.
    pub fn max_concurrent_loads(mut self, loads: usize) -> Self {
        self.options.max_concurrent_loads = Some(loads);
        self
    }

    /// Changes nothing in the second level from here, and takes no leases: what this process loads it keeps in its memory only. It still
    /// reads and listens, so it serves what others store and drops what they invalidate. `set`, `remove` and the like are
    /// [`Error::ReadOnly`]. For a service that only shows, a canary, a tool. See [`CacheBuilder::read_only`](crate::CacheBuilder::read_only).
    pub fn read_only(mut self) -> Self {
        self.options.read_only = true;
        self
    }

    /// How long an entry stays in this process's memory that nobody reads there, within its time to live. Reads are `get` and
    /// `get_or_load`; `peek` is none. The second level does not count reads: what is found there comes back. No limit by default;
    /// does not go with [`memory_time_to_live`](Self::memory_time_to_live), nor with [`refresh_ahead`](Self::refresh_ahead) and
    /// [`refresh_early`](Self::refresh_early).
    pub fn time_to_idle(mut self, time_to_idle: impl Into<Option<Duration>>) -> Self {
        self.options.time_to_idle = time_to_idle.into();
        self
    }

    /// Makes the region, or another handle of it if this process has it already.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the setting: a zero duration, a name with other characters than `A-Z a-z 0-9 _ - . :`, or
    /// a name that is taken by a region with other types or settings, or that is the beginning of another one's.
    pub fn build(self) -> Result<Region<K, V>, Error> {
        check_name("region name", &self.name)?;
        let options = self.options.checked()?;
        if options.negative_time_to_live.is_some() && self.is_negative.is_none() {
            return Err(Error::config(
                "negative_time_to_live",
                format!(
                    "values of region `{}` are never known to be absent",
                    self.name
                ),
                "make it a region of `Option` with `negative_time_to_live` in the program, which the configuration may change",
            ));
        }
        if self.codec.is_none() && options.compress_above.is_some() {
            return Err(Error::config(
                "compress_above",
                "values of this region stay in this process, where nothing is compressed",
                "leave it out, or make the region with `Cache::region`",
            ));
        }
        let Self {
            cache,
            name,
            codec,
            weigher,
            is_negative,
            ..
        } = self;
        let state = cache
            .regions
            .get_or_insert(&name, &options, |name, meters| RegionState {
                engine: Arc::clone(&cache.engine),
                name,
                options: options.clone(),
                codec,
                weigher,
                is_negative,
                flights: Arc::new(Flights::new()),
                meters,
                admission: Admission::new(options.max_concurrent_loads),
                outlook: Outlook::default(),
                key_type: std::any::type_name::<K>(),
                told_unencodable: AtomicBool::new(false),
                told_tags: AtomicBool::new(false),
                told_undecodable: AtomicBool::new(false),
                proven: AtomicBool::new(false),
                told_too_large: AtomicBool::new(false),
            })?;
        Ok(Region::new(state, cache))
    }
}

pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), Error> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > MAX_NAME_BYTES {
        format!("it is longer than {MAX_NAME_BYTES} bytes")
    } else if !name.bytes().all(plain) || name.starts_with(':') || name.ends_with(':') {
        format!("`{}` is not a name", name.escape_debug())
    } else {
        return Ok(());
    };
    Err(Error::config(
        field,
        problem,
        "use letters, digits and `_ - .`, with `:` only between them",
    ))
}

impl<K: ?Sized, V> fmt::Debug for RegionBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegionBuilder")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_text() {
        for name in ["event", "events:list", "A-1.b_c"] {
            assert!(check_name("region name", name).is_ok(), "{name}");
        }
        for name in ["", ":a", "a:", "a b", "a*", "{a}", "ü", &"x".repeat(129)] {
            assert!(
                check_name("region name", name)
                    .unwrap_err()
                    .to_string()
                    .starts_with("region name: "),
                "{name}"
            );
        }
    }
}
