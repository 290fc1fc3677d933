use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::gate::whole;
use super::{Remote, RemoteError};

/// So many calls under way make it likely that more reads come at once: before that, each goes by itself and waits for nobody.
const MANY: usize = 8;
/// The most keys of one call.
const MOST: usize = 128;
/// Values above this go by themselves: whoever waits for one of them would wait for all others too.
const SMALL: usize = 4_096;

/// Reads that come at about the same time are made in one call: for client and server one of sixty keys is several times cheaper than sixty
/// of one.
///
/// The first of them starts a task that lets everybody run who can, and then asks for all that have come. None of them depends on the
/// caller of another one.
#[derive(Debug)]
pub(super) struct Together {
    remote: Arc<dyn Remote>,
    budget: Duration,
    offered: bool,
    /// How large values are lately, about.
    usual: AtomicUsize,
    waiting: Mutex<Vec<Asks>>,
}

type Answer = Result<Option<Bytes>, RemoteError>;

#[derive(Debug)]
struct Asks {
    key: Arc<str>,
    hears: oneshot::Sender<Answer>,
}

impl Together {
    pub(super) fn new(remote: Arc<dyn Remote>, budget: Duration) -> Arc<Self> {
        Arc::new(Self {
            offered: remote.reads_together(),
            remote,
            budget,
            usual: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Whether a read is to go with others, when so many calls are under way.
    pub(super) fn is_better(&self, under_way: usize) -> bool {
        self.offered && under_way > MANY && self.usual.load(Ordering::Relaxed) <= SMALL
    }

    /// Takes note of a value.
    pub(super) fn saw(&self, bytes: usize) {
        let usual = self.usual.load(Ordering::Relaxed);
        // What is lost because two come at once does no harm.
        let next = usual - usual / 8 + bytes / 8;
        if next != usual {
            self.usual.store(next, Ordering::Relaxed);
        }
    }

    /// Keeps to the budget.
    pub(super) async fn read(self: &Arc<Self>, key: &Arc<str>) -> Answer {
        let (hears, answer) = oneshot::channel();
        let key = Arc::clone(key);
        if self.add(Asks { key, hears }) == 1 {
            tokio::spawn(Arc::clone(self).ask());
        }
        let lost = |_| Err(RemoteError::Unavailable("the runtime has ended".to_owned()));
        answer.await.unwrap_or_else(lost)
    }

    fn add(&self, asks: Asks) -> usize {
        let mut waiting = self.waiting();
        waiting.push(asks);
        waiting.len()
    }

    async fn ask(self: Arc<Self>) {
        tokio::task::yield_now().await;
        let mut waiting = std::mem::take(&mut *self.waiting());
        // Whoever has left wants nothing.
        waiting.retain(|asks| !asks.hears.is_closed());
        while waiting.len() > MOST {
            let some = waiting.split_off(waiting.len() - MOST);
            tokio::spawn(Arc::clone(&self).ask_for(some));
        }
        self.ask_for(waiting).await;
    }

    async fn ask_for(self: Arc<Self>, asked: Vec<Asks>) {
        let keys: Vec<Arc<str>> = asked.iter().map(|asks| Arc::clone(&asks.key)).collect();
        let read = whole(async { self.remote.read_many(&keys).await });
        let found = match tokio::time::timeout(self.budget, read).await {
            Ok(Ok(found)) if found.len() == keys.len() => Ok(found),
            Ok(Ok(_)) => Err(RemoteError::Unavailable(
                "it answered for other keys than were asked for".to_owned(),
            )),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(RemoteError::Timeout),
        };
        match found {
            Ok(found) => {
                for (asks, value) in asked.into_iter().zip(found) {
                    let _ = asks.hears.send(Ok(value));
                }
            }
            Err(error) => {
                for asks in asked {
                    let _ = asks.hears.send(Err(error.clone()));
                }
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Asks>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
