//! Many keys in one call.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tracing::{Instrument, Span};

use super::{Looked, Region};
use crate::batch::{Batch, Place, Wanted};
use crate::error::{BoxError, Error};
use crate::flight;
use crate::job::{Asked, How, Job, Outcome};
use crate::key::{self, Key};
use crate::loader::{Load, LoadContext, Loaded, erased};
use crate::lookup;
use crate::read_through::{self, Boarded};
use crate::reading::Reading;
use crate::region_state::{Landed, Level};
use crate::single_flight::{Hurry, Passenger};
use crate::turns::Turns;

/// Keys of one call that are leased, or stored, at once.
const LEASES_AT_ONCE: usize = 256;

/// Keys that one read of the second level asks for.
const READ_AT_ONCE: usize = 1_000;

/// How one of the keys gets its value.
enum Way<'r, V> {
    Here(Arc<V>, Level),
    /// With what asks for a load if the flight is somebody else's and brings nothing.
    Comes(
        Passenger<Landed<V>>,
        Arc<str>,
        Option<(Load<V>, Asked)>,
        Reading<'r>,
    ),
    /// Too long to be cached.
    Alone(tokio::task::JoinHandle<Result<Loaded<V>, Error>>),
}

/// A key that the call names once more.
struct Again<'r> {
    at: usize,
    first: usize,
    key: Arc<str>,
    read: Reading<'r>,
}

/// A key that L1 does not have, and where in the answer it stands.
type Missing<O, V> = (usize, Arc<str>, O, Place<O, V>);

/// # Many keys at once
impl<K: Key + ?Sized, V: Send + Sync + 'static> Region<K, V> {
    /// The values that the cache has, in the order of the keys: what this process lacks is asked for in one round trip for each
    /// Redis node. A key that is named twice counts as two reads.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = bilten_cache::Cache::builder("shop").build().await?;
    /// let prices = cache.region::<i64, u32>("price").build()?;
    /// let _ = prices.set_many([(1, 10), (3, 30)]).await?;
    /// let found = prices.get_many(&[1, 2, 3]).await;
    /// assert_eq!(found.iter().flatten().count(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is changed.
    pub async fn get_many<O: Borrow<K> + Sync>(&self, keys: &[O]) -> Vec<Option<Arc<V>>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut missing: Vec<(usize, Arc<str>)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            found.push(match self.look(key.borrow()) {
                Looked::Hit(value) | Looked::Due(value, ..) => Some(value),
                Looked::Miss(key) => {
                    missing.push((at, key));
                    None
                }
                Looked::TooLong => {
                    self.state.answered(super::TOO_LONG, None);
                    None
                }
            });
        }
        let mut reads = self.state.reading(missing.len());
        for chunk in missing.chunks(READ_AT_ONCE) {
            let asked: Vec<Arc<str>> = chunk.iter().map(|(_, key)| Arc::clone(key)).collect();
            let values = lookup::fresh_many(&self.state, &asked).await;
            for ((at, key), value) in chunk.iter().zip(values) {
                let value = value.ok();
                let from = value.as_ref().map(|_| Level::Remote);
                self.state.answered(key, from);
                reads.done();
                found[*at] = value;
            }
        }
        found
    }

    /// The values of all keys, in their order: `load` is called once with exactly the keys that neither level has and nobody
    /// else is loading. `None` is a key that the loader did not return; nothing is remembered about it.
    ///
    /// `load` is called again only for keys that another process was loading and did not finish. Calls that overlap,
    /// in this process or others, load each key once and never wait for each other in a circle. The missing keys come in the order of the
    /// call; one that is named twice is asked for once, and counts as two reads. Missing keys are leased and stored 256 at a
    /// time, or as many as half of [`remote_concurrency`](crate::CacheBuilder::remote_concurrency). Those whose turn for that has not come
    /// after twice the [`remote_budget`](crate::CacheBuilder::remote_budget) are loaded all the same, and kept in memory only.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = bilten_cache::Cache::builder("shop").build().await?;
    /// let names = cache.region::<i64, String>("name").build()?;
    /// let found = names.get_or_load_many([1, 2, 3], |missing| async move {
    ///     let rows = missing.into_iter().filter(|id| *id != 2); // select .. where id = any($1)
    ///     Ok::<_, std::io::Error>(rows.map(|id| (id, format!("user {id}"))).collect::<Vec<_>>())
    /// }).await?;
    /// assert_eq!(found[0].as_deref(), Some(&"user 1".to_owned()));
    /// assert_eq!(found[1], None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get_or_load`](Self::get_or_load), of the first key that has one. What was found stays in the cache.
    ///
    /// # Cancellation
    ///
    /// A load that has begun goes on, for others who wait and for the cache.
    pub async fn get_or_load_many<O, M, T, E, F, Fut>(
        &self,
        keys: impl IntoIterator<Item = O>,
        load: F,
    ) -> Result<Vec<Option<Arc<V>>>, Error>
    where
        O: Borrow<K> + Clone + Send + Sync + 'static,
        F: Fn(Vec<O>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (O, T)> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
        K: 'static,
    {
        let names: Vec<O> = keys.into_iter().collect();
        let encoded = |name: &O| {
            key::with_encoded(&self.state.name, name.borrow(), |key| Arc::<str>::from(key))
        };
        let all: Arc<[Arc<str>]> = names.iter().map(encoded).collect();
        let batch = self.batch(&all, load).inspect_err(|_| {
            for key in all.iter() {
                self.state.answered(key, None);
            }
        })?;
        let mut ways = Vec::with_capacity(names.len());
        let mut first_at: HashMap<&Arc<str>, usize> = HashMap::new();
        let (mut missing, mut again) = (Vec::new(), Vec::new());
        for (at, (name, key)) in names.into_iter().zip(all.iter()).enumerate() {
            // Its place decides even if nothing is done with it.
            let place = batch.place(at);
            if let Some(first) = first_at.get(key) {
                ways.push(None);
                let key = match key.len() > key::MAX_KEY_BYTES {
                    true => super::TOO_LONG.into(),
                    false => Arc::clone(key),
                };
                again.push(Again {
                    at,
                    first: *first,
                    key,
                    read: self.state.reading(1),
                });
                continue;
            }
            first_at.insert(key, at);
            let way = match self.look(name.borrow()) {
                Looked::Hit(value) => Some(Way::Here(value, Level::Memory)),
                Looked::Due(value, key, made) => {
                    self.refresh_in(place, name, &key, made);
                    Some(Way::Here(value, Level::Memory))
                }
                Looked::TooLong => {
                    self.state.answered(super::TOO_LONG, None);
                    Some(Way::Alone(self.load_in_batch(place, name, key)?))
                }
                Looked::Miss(key) => {
                    missing.push((at, key, name, place));
                    None
                }
            };
            ways.push(way);
        }
        for (at, way) in self.ways_of(missing).await? {
            ways[at] = Some(way);
        }
        drop(batch);
        self.all_arrived(ways, again).await
    }

    fn batch<O, M, T, E, F, Fut>(
        &self,
        keys: &Arc<[Arc<str>]>,
        load: F,
    ) -> Result<Arc<Batch<O, V>>, Error>
    where
        O: Borrow<K> + Clone + Send + Sync + 'static,
        F: Fn(Vec<O>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (O, T)> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
        K: 'static,
    {
        let state = Arc::clone(&self.state);
        let limit = state.options.load_timeout + state.options.late_results;
        let job = Job::many(state.engine.node, &state.name, keys, limit)?;
        let load = Arc::new(load);
        let hurry = Arc::<Hurry>::default();
        let gate = state.engine.gate.as_ref();
        let turns = gate.map_or(Turns::new(1, Duration::ZERO), |gate| {
            Turns::new(gate.share().min(LEASES_AT_ONCE), 2 * gate.budget())
        });
        let hurried = Arc::clone(&hurry);
        let caller = Span::current();
        let run = move |wanted: Vec<Wanted<O, V>>| {
            let names = wanted.iter().map(|wanted| wanted.name.clone()).collect();
            let demands = wanted.iter().filter_map(|wanted| wanted.at_least.clone());
            let at_least = state.engine.coherence.join(demands);
            let mut job = job.clone();
            job.at_least = at_least;
            let (load, state) = (Arc::clone(&load), Arc::clone(&state));
            let hurry = Arc::clone(&hurried);
            let (tasks, name) = (state.engine.tasks.clone(), Arc::clone(&state.name));
            // Not below the flight that happens to decide last.
            let span = read_through::span(&state, Some(&caller));
            let call = async move {
                let keyed =
                    |(name_of, value): (O, T)| (key::encode(&name, name_of.borrow()), value.into());
                // Inside the guard: it calls what the user wrote to walk, encode and convert the answers.
                let answers = async {
                    let answers = load(names).await?;
                    Ok::<_, E>(answers.into_iter().map(keyed).collect())
                };
                let deadline = job.deadline();
                let answers = match state.admit(&job, deadline, &hurry).await {
                    Ok(_places) => {
                        wanted.iter().for_each(|wanted| wanted.runs.begin());
                        state.meters.loads.add(wanted.len() as u64);
                        job.until(deadline).guard(answers).await
                    }
                    Err(full) => Err(full),
                };
                answer(wanted, answers);
            };
            tasks.spawn(call.instrument(span));
        };
        Ok(Batch::new(keys.len(), hurry, turns, run))
    }

    fn refresh_in<O>(&self, place: Place<O, V>, name: O, key: &Arc<str>, made: u64)
    where
        O: Send + 'static,
    {
        // Its batch has a place, and does not wait for it when another process loads it.
        let how = How {
            asked: Some(place.asked()),
            ..How::default()
        };
        let own = Arc::clone(key);
        let load = move |cx: LoadContext<V>| place.load(name, own, cx.demand());
        read_through::refresh(&self.state, key, made, load, how);
    }

    /// The load of a key that is kept nowhere, which is one like others.
    fn load_in_batch<O>(
        &self,
        place: Place<O, V>,
        name: O,
        key: &Arc<str>,
    ) -> Result<tokio::task::JoinHandle<Result<Loaded<V>, Error>>, Error>
    where
        O: Send + 'static,
    {
        let state = Arc::clone(&self.state);
        let limit = state.options.load_timeout + state.options.late_results;
        let mut job = Job::new(state.engine.node, &state.name, key, limit)?;
        job.key = super::TOO_LONG.into();
        job.how.asked = Some(place.asked());
        let own = Arc::clone(key);
        let load = move |cx: LoadContext<V>| place.load(name, own, cx.demand());
        let load = erased(load);
        let span = read_through::span(&state, None);
        let run = async move { flight::alone(&state, &job, load).await };
        Ok(self.state.engine.tasks.spawn(run.instrument(span)))
    }

    /// One read of the second level for all of them, and a flight for each that it does not have.
    async fn ways_of<O>(
        &self,
        missing: Vec<Missing<O, V>>,
    ) -> Result<Vec<(usize, Way<'_, V>)>, Error>
    where
        O: Send + 'static,
    {
        let mut reads = self.state.reading(missing.len());
        let keys: Vec<Arc<str>> = missing.iter().map(|(_, key, ..)| Arc::clone(key)).collect();
        let mut values = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READ_AT_ONCE) {
            values.extend(lookup::fresh_many(&self.state, chunk).await);
        }
        let mut ways = Vec::with_capacity(keys.len());
        for ((at, key, name, place), value) in missing.into_iter().zip(values) {
            let over = match value {
                Ok(value) => {
                    self.state.answered(&key, Some(Level::Remote));
                    reads.done();
                    ways.push((at, Way::Here(value, Level::Remote)));
                    continue;
                }
                Err(over) => over,
            };
            let asked = Asked {
                over,
                ..place.asked()
            };
            let how = How {
                asked: Some(asked.clone()),
                ..How::default()
            };
            let own = Arc::clone(&key);
            let load = move |cx: LoadContext<V>| place.load(name, own, cx.demand());
            let way = match read_through::board(&self.state, &key, load, how) {
                Ok(Boarded::Served(value)) => {
                    self.state.answered(&key, Some(Level::Stale));
                    reads.done();
                    Way::Here(value, Level::Stale)
                }
                Ok(Boarded::Waits(passenger, None)) => {
                    Way::Comes(passenger, key, None, reads.one())
                }
                Ok(Boarded::Waits(passenger, Some(load))) => {
                    self.state.meters.coalesced.add(1);
                    // It may need a load after all, but nobody is to wait until that is known.
                    (asked.on_wait)();
                    let own = Some((erased(load), asked));
                    Way::Comes(passenger, key, own, reads.one())
                }
                Err(error) => {
                    self.state.answered(&key, None);
                    reads.done();
                    return Err(error);
                }
            };
            ways.push((at, way));
        }
        Ok(ways)
    }

    /// Waits for a flight, and for another one when its pilot leaves. `own` is still one of many: its batch takes a place, and what it says
    /// nothing about is no error.
    async fn landed(
        &self,
        mut passenger: Passenger<Landed<V>>,
        key: &Arc<str>,
        mut own: Option<(Load<V>, Asked)>,
    ) -> Landed<V> {
        loop {
            let landed = read_through::arrive(&self.state, key, passenger).await;
            let (load, asked) = match (landed, own) {
                (None, Some(own)) => own,
                (landed, _) => return landed.unwrap_or_else(|| self.state.lost()),
            };
            let how = How {
                asked: Some(asked.clone()),
                ..How::default()
            };
            (passenger, own) = match read_through::board(&self.state, key, load, how)? {
                Boarded::Waits(passenger, own) => (passenger, own.map(|load| (load, asked))),
                Boarded::Served(value) => return Ok((value, Level::Stale)),
            };
        }
    }

    /// The values of all ways. They are waited for at the same time: what holds up one must not hold up the next one besides.
    async fn all_arrived(
        &self,
        ways: Vec<Option<Way<'_, V>>>,
        again: Vec<Again<'_>>,
    ) -> Result<Vec<Option<Arc<V>>>, Error> {
        let mut found = vec![None; ways.len()];
        let mut from = vec![None; ways.len()];
        let mut comes = Vec::new();
        for (at, way) in ways.into_iter().enumerate() {
            match way {
                Some(Way::Here(value, level)) => (found[at], from[at]) = (Some(value), Some(level)),
                Some(way) => comes.push(async move { (at, self.arrived(way).await) }),
                None => {}
            }
        }
        let every = comes.len().max(1);
        let mut comes = stream::iter(comes).buffered(every);
        let mut problem = None;
        // All of them, so that each is counted.
        while let Some((at, landed)) = comes.next().await {
            match landed {
                Ok((value, level)) => (found[at], from[at]) = (Some(value), Some(level)),
                Err(error) if Outcome::is_absent(&error) => {}
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        for mut again in again {
            found[again.at] = found[again.first].clone();
            self.state.answered(&again.key, from[again.first]);
            again.read.done();
        }
        match problem {
            Some(error) => Err(error),
            None => Ok(found),
        }
    }

    async fn arrived(&self, way: Way<'_, V>) -> Landed<V> {
        let (landed, key, mut read) = match way {
            Way::Here(value, level) => return Ok((value, level)),
            Way::Alone(load) => {
                let lost = Error::LoadAbandoned {
                    region: Arc::clone(&self.state.name),
                };
                let loaded = load.await.unwrap_or(Err(lost))?;
                return Ok((loaded.value, Level::Loader));
            }
            Way::Comes(passenger, key, own, read) => {
                (self.landed(passenger, &key, own).await, key, read)
            }
        };
        let from = landed.as_ref().ok().map(|(_, level)| *level);
        self.state.answered(&key, from);
        read.done();
        landed
    }
}

/// Gives everybody who waits what the loader said about its key.
fn answer<O, V>(wanted: Vec<Wanted<O, V>>, answers: Result<HashMap<String, Loaded<V>>, Error>) {
    let mut answers = match answers {
        Ok(answers) => Ok(answers),
        Err(error) => Err(Outcome::Failed(error)),
    };
    for wanted in wanted {
        let answer = match &mut answers {
            Ok(answers) => answers.remove(&*wanted.key).ok_or(Outcome::Absent),
            Err(outcome) => Err(outcome.clone()),
        };
        // Whoever asked may be gone.
        let _ = wanted.answer.send(answer);
    }
}
