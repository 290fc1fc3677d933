//! For callers inside this crate that judge by themselves how old a value may be: the HTTP layer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Region;
use crate::error::{BoxError, Error};
use crate::invalidate;
use crate::job::How;
use crate::key::{self, Key};
use crate::loader::{LoadContext, Loaded};
use crate::lookup;
use crate::manner::Manner;
use crate::read_through;
use crate::region_state::{Landed, Level};
use crate::remote::Scope;
use crate::single_flight::Passenger;

/// A value with its age.
#[derive(Debug)]
pub(crate) struct Held<V> {
    pub(crate) value: Arc<V>,
    /// When it was made, by the store's clock.
    pub(crate) made: u64,
    pub(crate) age: Duration,
    pub(crate) level: Level,
}

impl<K: Key + ?Sized, V: Send + Sync + 'static> Region<K, V> {
    /// What the cache has of the key. Counted by [`tally`](Self::tally) only.
    pub(crate) async fn held(&self, key: &K) -> Option<Held<V>> {
        let engine = &self.state.engine;
        let key: Arc<str> = key::encode(&self.state.name, key).into();
        let now = engine.clock.now();
        let entry = engine.memory.get(&key);
        let entry = entry.filter(|entry| engine.serves(&key, entry, now));
        let (value, made, level) = match entry {
            Some(entry) => (entry.value()?, entry.created_millis, Level::Memory),
            None => {
                let gate = self.state.readable(&key)?;
                let (value, made) =
                    lookup::fresh(&self.state, gate, &key, Manner::default()).await?;
                (value, made, Level::Remote)
            }
        };
        let now = engine.coherence.server_millis(engine.clock.now());
        let age = Duration::from_millis(now.saturating_sub(made));
        Some(Held {
            value,
            made,
            age,
            level,
        })
    }

    /// Loads a value that is newer than one which was made at `than`, or boards the flight of somebody who does. Whether it is the caller's own.
    pub(crate) fn reload<T, E, F, Fut>(
        &self,
        key: &K,
        than: Option<u64>,
        load: F,
    ) -> Result<(Passenger<Landed<V>>, bool), Error>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let key = key::encode(&self.state.name, key).into();
        let (passenger, not_run) =
            read_through::take_off(&self.state, &key, than, load, How::default())?;
        let is_pilot = not_run.is_none();
        self.state.meters.coalesced.add(u64::from(!is_pilot));
        Ok((passenger, is_pilot))
    }

    /// Counts one read.
    pub(crate) fn tally(&self, key: &K, from: Option<Level>) {
        key::with_encoded(&self.state.name, key, |key| self.state.answered(key, from));
    }

    /// Removes a key in a task of its own, for a caller that cannot wait.
    pub(crate) fn remove_behind(&self, key: &K) {
        let Ok(key) = self.changeable(key) else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            let engine = Arc::clone(&self.state.engine);
            let removal = async move { invalidate::invalidate(&engine, Scope::Key(key)).await };
            self.state.engine.tasks.spawn(removal);
        }
    }
}
