//! One write of the source, from before it begins until its value is in its place.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::{Engine, Start};
use crate::invalidate::{self, Ending};
use crate::remote::{Scope, Turn};
use crate::spans::Ask;
use crate::writes::Writes;

/// A write that takes longer counts as one that overlapped with another.
const LONGEST: Duration = Duration::from_secs(60);

/// One write of the source. Dropped before anybody knows whether the source was written, it removes the key.
pub(crate) struct Writing {
    engine: Arc<Engine>,
    key: Arc<str>,
    token: u64,
    /// Taken before the source is written.
    start: Start,
    /// What is known so far.
    alone: bool,
    /// Whether the source may have been touched.
    begun: bool,
    done: bool,
}

impl Writing {
    /// To be done before the source is touched, so that no write that overlaps is missed.
    pub(crate) async fn begin(engine: &Arc<Engine>, key: &Arc<str>) -> Self {
        let token = fastrand::u64(1..);
        // Before anybody is told, so that whoever was told hears of the end too.
        let mut writing = Self {
            engine: Arc::clone(engine),
            key: Arc::clone(key),
            token,
            start: engine.start(key),
            alone: false,
            begun: false,
            done: false,
        };
        writing.alone = match &engine.gate {
            None => lock(&engine.writes).begin(key, token),
            Some(gate) => {
                let begun = gate.change(Ask::BeginWrite, |remote| {
                    remote.begin_write(key, token, LONGEST)
                });
                // Without the second level nobody knows what other processes write.
                begun.await.unwrap_or(false)
            }
        };
        writing.begun = true;
        writing
    }

    /// Whether nothing else is known so far that happened to the key.
    pub(crate) fn seems_alone(&self) -> bool {
        self.alone && self.engine.tickets.is_current(self.start.ticket)
    }

    /// Before the source was written.
    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// To be done when everything is in its place. `true`: it was the only write all the time, so what it stored is the newest.
    pub(crate) async fn end(self) -> bool {
        self.end_in(None).await
    }

    async fn end_in(mut self, turn: Option<&Turn<'_>>) -> bool {
        let alone = end(&self.engine, &self.key, self.token, turn).await;
        self.done = true;
        alone && self.alone
    }
}

impl Ending for Writing {
    fn token(&self) -> u64 {
        self.token
    }

    fn end<'a>(
        self: Box<Self>,
        turn: Option<&'a Turn<'a>>,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(self.end_in(turn))
    }
}

async fn end(engine: &Engine, key: &Arc<str>, token: u64, turn: Option<&Turn<'_>>) -> bool {
    let ended = match (&engine.gate, turn) {
        (None, _) => return lock(&engine.writes).end(key, token),
        (Some(gate), None) => {
            gate.change(Ask::EndWrite, |remote| remote.end_write(key, token))
                .await
        }
        (Some(gate), Some(turn)) => {
            let end = gate.call_in(turn, Ask::EndWrite, |remote| remote.end_write(key, token));
            end.await
        }
    };
    ended.unwrap_or(false)
}

fn lock(writes: &Mutex<Writes>) -> MutexGuard<'_, Writes> {
    writes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Writing {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let begun = self.begun;
        if begun {
            self.engine.tickets.bump(&self.key, None);
            self.engine.memory.remove(&self.key);
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            let (engine, key, token) =
                (Arc::clone(&self.engine), Arc::clone(&self.key), self.token);
            self.engine.tasks.spawn(async move {
                if begun {
                    let _ = invalidate::invalidate(&engine, Scope::Key(Arc::clone(&key))).await;
                }
                end(&engine, &key, token, None).await;
            });
        } else if self.engine.gate.is_none() {
            lock(&self.engine.writes).end(&self.key, self.token);
        }
    }
}
