//! Changes of many keys in one call.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};

use super::Region;
use crate::bulk;
use crate::error::Error;
use crate::events::Refusal;
use crate::invalidate::{self, Ack, Change};
use crate::key::Key;
use crate::loader::Loaded;
use crate::manner::Manner;
use crate::remote::{Demand, Gate};

/// Keys that one call to the second level changes: it is busy with nothing else meanwhile.
const IN_ONE_CALL: usize = 64;

/// Bytes of values in one call, about: more would take longer than a slow link has time for.
const BYTES_IN_ONE_CALL: usize = 128 << 10;

/// Such calls that are under way at once, and changes for each of them that are made one by one: enough to fill a round trip, too few to
/// crowd others out.
const CALLS_AT_ONCE: usize = 8;
const SINGLE_AT_ONCE: usize = 8;

/// Bytes of those, about. No more of them wait for their turn than are under way.
const BYTES_ONE_BY_ONE: usize = 1 << 20;

/// # Changes of many keys
impl<K: Key + ?Sized, V: Send + Sync + 'static> Region<K, V> {
    /// Puts many values into both levels, like [`set`](Self::set), in two round trips for up to 512 of them if they are
    /// small: one call takes at most 128 KiB, and eight are under way at once.
    ///
    /// Of several values for one key the last one stays. A few of hundreds may be in the second level alone, until somebody reads them.
    ///
    /// # Errors
    ///
    /// Those of [`set`](Self::set), of a value that has one; the others are set all the same. The weakest of all answers
    /// is returned.
    ///
    /// # Cancellation
    ///
    /// Those that were begun are made; dropped, it leaves the others as they are.
    pub async fn set_many<O, T>(
        &self,
        values: impl IntoIterator<Item = (O, T)>,
    ) -> Result<Ack, Error>
    where
        O: Borrow<K>,
        T: Into<Loaded<V>>,
    {
        let mut named = Named::default();
        let values = values
            .into_iter()
            .filter_map(|(name, value)| named.first(self.changeable(name.borrow()), value.into()));
        let first = self.set_each(values).await;
        if named.last.is_empty() {
            return first;
        }
        // They come after whatever was on its way with the others.
        let last = named.last.into_iter().map(|(key, value)| (Ok(key), value));
        let mut told = Told::new(self.unchanged());
        told.hear(first);
        told.hear(self.set_each(last).await);
        told.sum()
    }

    /// The same for keys that differ.
    async fn set_each(&self, mut values: impl Iterator<Item = Value<V>>) -> Result<Ack, Error> {
        let (in_one_call, _) = self.room();
        let parts = std::iter::from_fn(move || {
            let mut part = Part::default();
            let mut values = values.by_ref().take(in_one_call);
            while !part.is_full()
                && let Some((key, value)) = values.next()
            {
                self.add(&mut part, key, value);
            }
            (!part.is_empty()).then(|| self.set_part(part))
        });
        self.sum(parts).await
    }

    fn add(&self, part: &mut Part, key: Result<Arc<str>, Error>, loaded: Loaded<V>) {
        let key = match key {
            Ok(key) => key,
            Err(error) => return part.told.push(Err(error)),
        };
        let after = loaded.after.clone();
        match self.change_of(None, &key, loaded, Manner::default()) {
            Ok(change) if bulk::is_plain(&self.state.engine, &change) => {
                part.bytes += weight(&change);
                part.together.push(change);
            }
            change => {
                part.single_bytes += change.as_ref().map_or(0, weight);
                part.single.push((key, after, change));
            }
        }
    }

    async fn set_part(&self, part: Part) -> Result<Ack, Error> {
        let mut told = Told::new(self.unchanged());
        for answer in part.told {
            told.hear(answer);
        }
        let single = part.single.into_iter();
        let single = single.map(|(key, after, change)| self.set_single(key, after, change));
        let single = stream::iter(single).buffer_unordered(SINGLE_AT_ONCE);
        let (together, single) =
            tokio::join!(self.set_together(part.together), single.collect::<Vec<_>>());
        told.hear(Ok(together));
        for answer in single {
            told.hear(answer);
        }
        told.sum()
    }

    async fn set_together(&self, changes: Vec<Change>) -> Ack {
        let mut weakest = self.unchanged();
        if changes.is_empty() {
            return weakest;
        }
        for (key, written) in bulk::write(&self.state.engine, changes).await {
            if written.too_large {
                self.state.refused(&key, Refusal::TooLarge);
            }
            if written.ack == Ack::Deferred {
                weakest = Ack::Deferred;
            }
        }
        weakest
    }

    async fn set_single(
        &self,
        key: Arc<str>,
        after: Option<Demand>,
        change: Result<Change, Option<Error>>,
    ) -> Result<Ack, Error> {
        let change = match change {
            Ok(change) => change,
            Err(problem) => {
                let ack = self.put_nothing(key, after, None).await;
                return problem.map_or(Ok(ack), Err);
            }
        };
        let written = invalidate::write(&self.state.engine, change).await;
        if written.too_large {
            self.state.refused(&key, Refusal::TooLarge);
        }
        Ok(written.ack)
    }

    /// Removes many keys everywhere, like [`remove`](Self::remove), in one round trip for up to 512 of them.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], of the first key that is; the others are removed all the same. The weakest of all answers is
    /// returned.
    ///
    /// # Cancellation
    ///
    /// Those that were begun are made; dropped, it leaves the others as they are.
    pub async fn remove_many<O: Borrow<K>>(
        &self,
        keys: impl IntoIterator<Item = O>,
    ) -> Result<Ack, Error> {
        let mut keys = keys.into_iter();
        let (in_one_call, _) = self.room();
        let parts = std::iter::from_fn(move || {
            let part = keys.by_ref().take(in_one_call);
            let part: Vec<_> = part.map(|name| self.changeable(name.borrow())).collect();
            (!part.is_empty()).then(|| self.remove_part(part))
        });
        self.sum(parts).await
    }

    async fn remove_part(&self, keys: Vec<Result<Arc<str>, Error>>) -> Result<Ack, Error> {
        let mut told = Told::new(self.unchanged());
        let mut removable = Vec::with_capacity(keys.len());
        for key in keys {
            match key {
                Ok(key) => removable.push(key),
                Err(error) => told.hear(Err(error)),
            }
        }
        if !removable.is_empty() {
            told.hear(Ok(bulk::remove(&self.state.engine, removable).await));
        }
        told.sum()
    }

    /// The same with what later loads must reflect, which has a record of its own for each key.
    pub(super) async fn remove_all<O: Borrow<K>>(
        &self,
        keys: impl IntoIterator<Item = O>,
        after: &Demand,
    ) -> Result<Ack, Error> {
        let mut keys = keys.into_iter();
        let changes = std::iter::from_fn(move || {
            let (key, after) = (self.changeable(keys.next()?.borrow()), after.clone());
            Some(async move { Ok(self.remove_encoded(key?, Some(after)).await) })
        });
        let gate = self.state.engine.gate.as_ref();
        let at_once = gate.map_or(usize::MAX, Gate::share);
        let at_once = at_once.min(CALLS_AT_ONCE * SINGLE_AT_ONCE);
        let changes = stream::iter(changes).buffer_unordered(at_once);
        self.told_by(changes).await
    }

    async fn sum(
        &self,
        parts: impl Iterator<Item = impl Future<Output = Result<Ack, Error>>>,
    ) -> Result<Ack, Error> {
        let (_, at_once) = self.room();
        let parts = stream::iter(parts).buffer_unordered(at_once);
        self.told_by(parts).await
    }

    /// Keys that one call changes, and such calls at once: where each key is a call of its own, all of them count.
    fn room(&self) -> (usize, usize) {
        let Some(gate) = &self.state.engine.gate else {
            return (IN_ONE_CALL, CALLS_AT_ONCE);
        };
        let keys = match gate.calls_for(IN_ONE_CALL) {
            1 => IN_ONE_CALL,
            calls => calls.min(gate.share()),
        };
        let at_once = gate.share() / gate.calls_for(keys);
        (keys, at_once.clamp(1, CALLS_AT_ONCE))
    }

    async fn told_by(&self, answers: impl Stream<Item = Result<Ack, Error>>) -> Result<Ack, Error> {
        let mut told = Told::new(self.unchanged());
        let mut answers = pin!(answers);
        while let Some(answer) = answers.next().await {
            told.hear(answer);
        }
        told.sum()
    }

    /// What is known about no change at all.
    fn unchanged(&self) -> Ack {
        match self.state.engine.gate {
            _ if self.state.is_read_only() => Ack::ReadOnly,
            Some(_) => Ack::Everywhere,
            None => Ack::Local,
        }
    }
}

/// A value, and its key or why that is none.
type Value<V> = (Result<Arc<str>, Error>, Loaded<V>);

/// The keys that a call has named so far, and the last values of those that it names again.
struct Named<V> {
    keys: HashSet<Arc<str>>,
    last: HashMap<Arc<str>, Loaded<V>>,
}

impl<V> Default for Named<V> {
    fn default() -> Self {
        Self {
            keys: HashSet::new(),
            last: HashMap::new(),
        }
    }
}

impl<V> Named<V> {
    /// The change, if its key is new.
    fn first(&mut self, key: Result<Arc<str>, Error>, value: Loaded<V>) -> Option<Value<V>> {
        if let Ok(key) = &key
            && !self.keys.insert(Arc::clone(key))
        {
            self.last.insert(Arc::clone(key), value);
            return None;
        }
        Some((key, value))
    }
}

/// What is said about all changes of a call.
struct Told {
    weakest: Ack,
    problem: Option<Error>,
}

impl Told {
    fn new(weakest: Ack) -> Self {
        Self {
            weakest,
            problem: None,
        }
    }

    fn hear(&mut self, answer: Result<Ack, Error>) {
        match answer {
            Ok(Ack::Deferred) => self.weakest = Ack::Deferred,
            Ok(_) => {}
            Err(error) => self.problem = self.problem.take().or(Some(error)),
        }
    }

    fn sum(self) -> Result<Ack, Error> {
        self.problem.map_or(Ok(self.weakest), Err)
    }
}

/// A key, what its later loads must reflect, and its change or why there is none.
type Single = (Arc<str>, Option<Demand>, Result<Change, Option<Error>>);

/// Values of one call to the second level.
#[derive(Default)]
struct Part {
    /// What is known already.
    told: Vec<Result<Ack, Error>>,
    together: Vec<Change>,
    /// Of those.
    bytes: usize,
    /// Those that need more than that, or of which nothing can be kept.
    single: Vec<Single>,
    /// Of those.
    single_bytes: usize,
}

fn weight(change: &Change) -> usize {
    let envelope = change.envelope.as_ref();
    envelope.map_or(0, |envelope| envelope.len())
}

impl Part {
    fn is_full(&self) -> bool {
        self.bytes >= BYTES_IN_ONE_CALL
            || self.single.len() >= SINGLE_AT_ONCE
            || self.single_bytes >= BYTES_ONE_BY_ONE
    }

    fn is_empty(&self) -> bool {
        self.told.is_empty() && self.together.is_empty() && self.single.is_empty()
    }
}
