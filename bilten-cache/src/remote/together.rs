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
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How often all have been taken.
    rounds: u64,
    all: Vec<Asks>,
}

impl Waiting {
    fn take(&mut self) -> Vec<Asks> {
        self.rounds += 1;
        std::mem::take(&mut self.all)
    }
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

    /// Keeps to the budget, also where the task that is to ask belongs to a runtime that nobody drives any more.
    pub(super) async fn read(self: &Arc<Self>, key: &Arc<str>) -> Answer {
        let (hears, answer) = oneshot::channel();
        let key = Arc::clone(key);
        let (round, count) = self.add(Asks { key, hears });
        if count == 1 {
            tokio::spawn(Arc::clone(self).ask());
        }
        match tokio::time::timeout(self.budget, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ended())),
            Err(_) => {
                drop(self.forsaken(round));
                Err(RemoteError::Timeout)
            }
        }
    }

    fn add(&self, asks: Asks) -> (u64, usize) {
        let mut waiting = self.waiting();
        waiting.all.push(asks);
        (waiting.rounds, waiting.all.len())
    }

    /// All of a round that nobody has asked for in a whole budget. Whoever comes next begins another one.
    fn forsaken(&self, round: u64) -> Vec<Asks> {
        let mut waiting = self.waiting();
        match waiting.rounds == round {
            true => waiting.take(),
            false => Vec::new(),
        }
    }

    async fn ask(self: Arc<Self>) {
        tokio::task::yield_now().await;
        let mut asked = self.waiting().take();
        // Whoever has left wants nothing.
        asked.retain(|asks| !asks.hears.is_closed());
        while asked.len() > MOST {
            let some = asked.split_off(asked.len() - MOST);
            tokio::spawn(Arc::clone(&self).ask_for(some));
        }
        if !asked.is_empty() {
            self.ask_for(asked).await;
        }
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

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> RemoteError {
    RemoteError::Unavailable("the runtime of those who ask together has ended".to_owned())
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use futures_util::future::join_all;
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::test_util::FaultyRemote;

    fn runtime() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    }

    fn together() -> Arc<Together> {
        let store = FaultyRemote::new();
        for n in 0..300 {
            store.put_bytes(&n.to_string(), n.to_string());
        }
        Together::new(Arc::new(store), Duration::from_millis(100))
    }

    #[test]
    fn each_hears_the_answer_to_its_own_key_also_beyond_one_call() {
        let together = together();
        let keys: Vec<Arc<str>> = (0..301).map(|n| n.to_string().into()).collect();
        let reads = join_all(keys.iter().map(|key| together.read(key)));
        let answers: Vec<_> = runtime().block_on(reads);
        for (n, answer) in answers.into_iter().enumerate() {
            let expected = (n < 300).then(|| Bytes::from(n.to_string()));
            assert_eq!(answer.expect("it is there"), expected);
        }
        assert!(together.waiting().all.is_empty());
    }

    /// The first caller's runtime stands still after its first poll: the others wait for their own budget, and are free after that.
    #[test]
    fn a_runtime_that_nobody_drives_costs_others_one_budget() {
        let (together, key, still) = (together(), Arc::from("7"), runtime());
        let first = {
            let _entered = still.enter();
            let mut first = Box::pin(together.read(&key));
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(matches!(first.as_mut().poll(&mut nobody), Poll::Pending));
            first
        };
        let others = runtime();
        let in_vain = others.block_on(together.read(&key));
        assert!(matches!(in_vain, Err(RemoteError::Timeout)), "{in_vain:?}");
        let seven = Some(Bytes::from("7"));
        assert_eq!(
            others.block_on(together.read(&key)).expect("it is there"),
            seven
        );
        drop(first);
        // What the first one's runtime does at last disturbs nobody.
        still.block_on(tokio::task::yield_now());
        assert_eq!(
            others.block_on(together.read(&key)).expect("it is there"),
            seven
        );
    }

    #[test]
    fn a_runtime_that_ends_takes_nobody_with_it() {
        let (together, key) = (together(), Arc::from("7"));
        let gone = runtime();
        gone.block_on(async {
            let mut read = Box::pin(together.read(&key));
            let mut nobody = Context::from_waker(Waker::noop());
            assert!(read.as_mut().poll(&mut nobody).is_pending());
        });
        drop(gone);
        let others = runtime();
        let _ = others.block_on(together.read(&key));
        let seven = Some(Bytes::from("7"));
        assert_eq!(
            others.block_on(together.read(&key)).expect("it is there"),
            seven
        );
    }
}
