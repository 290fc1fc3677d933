mod after;
mod builder;
mod call;
mod changes;
mod formats;
mod freshness;
#[cfg(feature = "http")]
mod held;
mod many;
mod many_changes;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use tracing::Instrument;

pub use self::after::After;
pub use self::builder::RegionBuilder;
#[cfg(feature = "http")]
pub(crate) use self::builder::check_name;
pub use self::call::Call;
#[cfg(feature = "http")]
pub(crate) use self::held::Held;
use crate::error::{BoxError, Error};
use crate::explain::Explanation;
use crate::flight;
use crate::job::{How, Job, Outcome};
use crate::key::{self, Key, MAX_KEY_BYTES};
use crate::loader::{LoadContext, Loaded, erased};
use crate::manner::{Manner, Use};
use crate::read_through::{self, Boarded};
use crate::region_state::{Level, RegionState};
use crate::single_flight::Seat;
use crate::stats::Stats;

/// A typed view of a [`Cache`](crate::Cache): one kind of key, one kind of value, one set of defaults.
///
/// Cheap to clone. A hit in this process hands out the stored `Arc` and neither decodes, allocates nor waits.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use bilten_cache::Cache;
///
/// let cache = Cache::builder("shop").build().await?;
/// let names = cache.region::<i64, String>("name").time_to_live(Duration::from_secs(60)).build()?;
///
/// let name = names.get_or_load(&7, async |_| Ok::<_, std::io::Error>("Ada".to_owned())).await?;
/// assert_eq!(*name, "Ada");
/// assert_eq!(names.peek(&7).as_deref(), Some(&"Ada".to_owned()));
///
/// let _ = names.remove(&7).await?;
/// assert_eq!(names.get(&7).await, None);
/// # Ok(()) }
/// ```
pub struct Region<K: ?Sized, V> {
    state: Arc<RegionState<V>>,
    /// Keeps the cache's own tasks running.
    _cache: Arc<dyn fmt::Debug + Send + Sync>,
    key: PhantomData<fn(&K)>,
}

impl<K: Key + ?Sized, V: Send + Sync + 'static> Region<K, V> {
    fn new(state: Arc<RegionState<V>>, cache: Arc<dyn fmt::Debug + Send + Sync>) -> Self {
        Self {
            state,
            _cache: cache,
            key: PhantomData,
        }
    }

    /// The value if this process has it. Synchronous, never asks the second level.
    #[must_use]
    pub fn peek(&self, key: &K) -> Option<Arc<V>> {
        key::with_encoded(&self.state.name, key, |key| self.state.hit(key))
    }

    /// The value if the cache has it. Trouble with the second level is a miss.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is changed.
    pub async fn get(&self, key: &K) -> Option<Arc<V>> {
        self.get_in(key, Manner::default()).await
    }

    async fn get_in(&self, key: &K, manner: Manner) -> Option<Arc<V>> {
        let key = match self.look_in(key, manner) {
            Looked::Hit(value) | Looked::Due(value, ..) => return Some(value),
            Looked::Miss(key) => key,
            Looked::TooLong => {
                self.state.answered(TOO_LONG, None);
                return None;
            }
        };
        let mut read = self.state.reading(1);
        let found = read_through::get(&self.state, &key, manner).await;
        let from = found.as_ref().map(|_| Level::Remote);
        self.state.answered(&key, from);
        read.done();
        found
    }

    /// A call that does something in another way than the region: takes no value from a level, keeps none there, or for another time. A plain
    /// call does not pay for it.
    pub fn call(&self) -> Call<'_, K, V> {
        Call::new(self)
    }

    /// The value, from wherever it is quickest: this process, a load that is under way, the second level, `load`.
    ///
    /// `load` returns the value or a [`Loaded`] with tags and a time to live of its own. However many callers ask for a key at
    /// once, it runs once. It runs in a task of its own, so it owns what it uses (`async move`).
    ///
    /// A key longer than [`MAX_KEY_BYTES`] is loaded for every caller and not cached. A value that does not serialise is kept in
    /// this process only, counted, and told once per region in the log.
    ///
    /// # Errors
    ///
    /// Only what the loader did: [`Error::Load`], [`Error::LoadPanicked`], [`Error::LoadTimeout`], [`Error::Recursive`], and
    /// [`Error::LoadAbandoned`] while the runtime shuts down. Errors are not cached; everybody who waited gets the same one.
    ///
    /// # Cancellation
    ///
    /// What it has begun goes on, for others who wait and for the cache: the look into the second level too, and the load after it.
    pub async fn get_or_load<T, E, F, Fut>(&self, key: &K, load: F) -> Result<Arc<V>, Error>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let key = match self.look(key) {
            Looked::Hit(value) => return Ok(value),
            Looked::Due(value, key, made) => {
                read_through::refresh(&self.state, &key, made, load, How::default());
                return Ok(value);
            }
            Looked::Miss(key) => key,
            Looked::TooLong => return self.load_alone(key, load).await,
        };
        // Boxed: a caller whose value is here has no room to make for the long way.
        Box::pin(self.arrive(key, Manner::default(), load)).await
    }

    /// The same in another manner. Boxed, because it is rare and a caller's future would have to make room.
    fn load_in<'a, T, E, F, Fut>(
        &'a self,
        key: &K,
        manner: Manner,
        load: F,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<V>, Error>> + Send + 'a>>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        match self.look_in(key, manner) {
            Looked::Hit(value) => Box::pin(std::future::ready(Ok(value))),
            Looked::Due(value, key, made) => {
                read_through::refresh(&self.state, &key, made, load, How::default());
                Box::pin(std::future::ready(Ok(value)))
            }
            Looked::Miss(key) => Box::pin(self.arrive(key, manner, load)),
            Looked::TooLong => self.load_alone(key, load),
        }
    }

    /// What the flight of a key brings that is not in this process's memory.
    async fn arrive<T, E, F, Fut>(
        &self,
        key: Arc<str>,
        manner: Manner,
        mut load: F,
    ) -> Result<Arc<V>, Error>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let state = &self.state;
        let mut read = state.reading(1);
        let mut waited = false;
        let result = loop {
            let how = How {
                manner,
                ..How::default()
            };
            let (passenger, own) = if read_through::leads(state, &key, manner) {
                match read_through::seat(state, &key, &how, true) {
                    Ok(Seat::Pilot(pilot)) => {
                        break read_through::lead(state, &key, pilot, manner, load).await;
                    }
                    Ok(Seat::Passenger(passenger)) => (passenger, Some(load)),
                    Err(error) => break Err(error),
                }
            } else {
                match read_through::board(state, &key, load, how) {
                    Ok(Boarded::Served(value)) => break Ok((value, Level::Stale)),
                    Ok(Boarded::Waits(passenger, own)) => (passenger, own),
                    Err(error) => break Err(error),
                }
            };
            // Once, on however many flights.
            state
                .meters
                .coalesced
                .add(u64::from(own.is_some() && !waited));
            waited |= own.is_some();
            match (read_through::arrive(state, &key, passenger).await, own) {
                // Its pilot has left.
                (None, Some(own)) => load = own,
                // Somebody's load of many keys had nothing to say about this one: then it is our turn.
                (Some(Err(error)), Some(own)) if Outcome::is_absent(&error) => load = own,
                (landed, _) => break landed.unwrap_or_else(|| state.lost()),
            }
        };
        let from = result.as_ref().ok().map(|(_, level)| *level);
        state.answered(&key, from);
        read.done();
        result.map(|(value, _)| value)
    }

    /// Says where the key is in both levels, how old, and what decides whether it is served. For people who look for the
    /// reason: it asks the second level each time and is counted nowhere but as a call to it.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is changed.
    pub async fn explain(&self, key: &K) -> Explanation {
        let key = key::encode(&self.state.name, key);
        self.state.explain(&key).await
    }

    /// The region's counts since the cache was built.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.meters.snapshot()
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Loads for one caller, in the task of that caller. Boxed, because it is rare and a caller's future would have to make room.
    fn load_alone<T, E, F, Fut>(
        &self,
        key: &K,
        load: F,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<V>, Error>> + Send + '_>>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        self.state.answered(TOO_LONG, None);
        let (node, state) = (self.state.engine.node, &self.state);
        let own = key::with_encoded(&state.name, key, |key| Arc::<str>::from(key));
        let job = Job::new(node, &state.name, &own, state.options.load_timeout);
        Box::pin(async move {
            let mut job = job?;
            job.key = TOO_LONG.into();
            let loaded = flight::alone(state, &job, erased(load));
            let loaded = loaded.instrument(read_through::span(state, None)).await?;
            Ok(loaded.value)
        })
    }

    fn look(&self, key: &K) -> Looked<V> {
        key::with_encoded(&self.state.name, key, |key| {
            match self.state.hit_or_due(key) {
                Some((value, due)) => {
                    self.state.hit_memory(key);
                    match due {
                        None => Looked::Hit(value),
                        Some(made) => Looked::Due(value, key.into(), made),
                    }
                }
                None if key.len() > MAX_KEY_BYTES => {
                    self.state.meters.keys_refused.add(1);
                    Looked::TooLong
                }
                None => Looked::Miss(key.into()),
            }
        })
    }

    fn look_in(&self, key: &K, manner: Manner) -> Looked<V> {
        if manner.uses(Use::MemoryRead) {
            return self.look(key);
        }
        key::with_encoded(&self.state.name, key, |key| {
            if key.len() <= MAX_KEY_BYTES {
                return Looked::Miss(key.into());
            }
            self.state.meters.keys_refused.add(1);
            Looked::TooLong
        })
    }

    /// The key of a change.
    fn changeable(&self, key: &K) -> Result<Arc<str>, Error> {
        if self.state.is_read_only() {
            return Err(Error::ReadOnly {
                region: Arc::clone(&self.state.name),
            });
        }
        self.checked(key)
    }

    fn checked(&self, key: &K) -> Result<Arc<str>, Error> {
        key::with_encoded(&self.state.name, key, |key| {
            if key.len() <= MAX_KEY_BYTES {
                return Ok(key.into());
            }
            self.state.meters.keys_refused.add(1);
            Err(Error::KeyTooLong {
                region: Arc::clone(&self.state.name),
                bytes: key.len(),
                limit: MAX_KEY_BYTES,
            })
        })
    }
}

/// What events call a key that is too long to be one.
const TOO_LONG: &str = "(a key that is too long)";

enum Looked<V> {
    Hit(Arc<V>),
    /// A hit whose value, made then, shall be loaded anew.
    Due(Arc<V>, Arc<str>, u64),
    Miss(Arc<str>),
    TooLong,
}

impl<K: ?Sized, V> Clone for Region<K, V> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            _cache: Arc::clone(&self._cache),
            key: PhantomData,
        }
    }
}

impl<K: ?Sized, V> fmt::Debug for Region<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("name", &self.state.name)
            .finish_non_exhaustive()
    }
}
