use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

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
/// caller of another one, nor on its runtime: where that task does not come to its turn, one of those who wait or come later does the same
/// in a task of its own.
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
    /// When a task was last started that is to take them.
    sent: Option<Instant>,
    all: Vec<Asks>,
}

impl Waiting {
    fn take(&mut self) -> Vec<Asks> {
        self.rounds += 1;
        self.sent = None;
        std::mem::take(&mut self.all)
    }

    /// Whether a task has to be started, because none was that may still be expected.
    fn sends(&mut self, patience: Duration) -> bool {
        let now = Instant::now();
        if self.sent.is_some_and(|sent| now < sent + patience) {
            return false;
        }
        self.sent = Some(now);
        true
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
        let (hears, mut answer) = oneshot::channel();
        let round = self.add(Asks {
            key: Arc::clone(key),
            hears,
        });
        match tokio::time::timeout(self.patience(), &mut answer).await {
            Ok(Ok(answer)) => answer,
            heard => Box::pin(self.late(key, round, heard.is_err().then_some(answer))).await,
        }
    }

    /// How long a task that is to ask may take until it does.
    fn patience(&self) -> Duration {
        self.budget / 8
    }

    fn add(self: &Arc<Self>, asks: Asks) -> u64 {
        let (round, sends) = {
            let mut waiting = self.waiting();
            waiting.all.push(asks);
            (waiting.rounds, waiting.sends(self.patience()))
        };
        if sends {
            self.send();
        }
        round
    }

    fn send(self: &Arc<Self>) {
        tokio::spawn(Asker(Some(Arc::clone(self))).ask());
    }

    /// The rest of a read that nobody has answered so far, or nobody will.
    async fn late(
        self: &Arc<Self>,
        key: &str,
        round: u64,
        answer: Option<oneshot::Receiver<Answer>>,
    ) -> Answer {
        let rest = async {
            if let Some(answer) = answer {
                self.take_over(round);
                if let Ok(answer) = answer.await {
                    return answer;
                }
            }
            // Whoever was to ask has ended with its runtime.
            whole(async { self.remote.read(key).await }).await
        };
        let limit = self.budget - self.patience();
        let rest = tokio::time::timeout(limit, rest).await;
        rest.unwrap_or(Err(RemoteError::Timeout))
    }

    fn take_over(self: &Arc<Self>, round: u64) {
        let sends = {
            let mut waiting = self.waiting();
            waiting.rounds == round && waiting.sends(self.patience())
        };
        if sends {
            self.send();
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
            // What is refused of all of them may be well of each but one.
            Err(RemoteError::Refused(_)) if keys.len() > 1 => self.ask_each(asked).await,
            Err(error) => {
                for asks in asked {
                    let _ = asks.hears.send(Err(error.clone()));
                }
            }
        }
    }

    async fn ask_each(&self, asked: Vec<Asks>) {
        let each = asked.into_iter().map(async |asks| {
            let read = whole(async { self.remote.read(&asks.key).await });
            let read = tokio::time::timeout(self.budget, read).await;
            let _ = asks.hears.send(read.unwrap_or(Err(RemoteError::Timeout)));
        });
        join_all(each).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is to ask for all that have come. Where it ends before that, everybody who waits for it hears so.
struct Asker(Option<Arc<Together>>);

impl Asker {
    async fn ask(mut self) {
        tokio::task::yield_now().await;
        let Some(together) = self.0.take() else {
            return;
        };
        let mut asked = together.waiting().take();
        // Whoever has left wants nothing.
        asked.retain(|asks| !asks.hears.is_closed());
        while asked.len() > MOST {
            let some = asked.split_off(asked.len() - MOST);
            tokio::spawn(Arc::clone(&together).ask_for(some));
        }
        if !asked.is_empty() {
            together.ask_for(asked).await;
        }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some(together) = &self.0 {
            let forsaken = together.waiting().take();
            drop(forsaken);
        }
    }
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::test_util::{Call, FaultyRemote};

    const BUDGET: Duration = Duration::from_millis(160);

    /// Its clock stands still while there is work, however slow the machine is.
    fn runtime() -> Runtime {
        let mut builder = Builder::new_current_thread();
        let builder = builder.enable_all().start_paused(true);
        builder.build().expect("a runtime")
    }

    fn together() -> (FaultyRemote, Arc<Together>) {
        let store = FaultyRemote::new();
        for n in 0..300 {
            store.put_bytes(&n.to_string(), n.to_string());
        }
        (store.clone(), Together::new(Arc::new(store), BUDGET))
    }

    fn seven() -> Option<Bytes> {
        Some(Bytes::from("7"))
    }

    fn begun<'a>(
        read: impl Future<Output = Answer> + 'a,
    ) -> impl Future<Output = Answer> + Unpin + 'a {
        let mut read = Box::pin(read);
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(matches!(read.as_mut().poll(&mut nobody), Poll::Pending));
        read
    }

    #[test]
    fn each_hears_the_answer_to_its_own_key_also_beyond_one_call() {
        let (_, together) = together();
        let keys: Vec<Arc<str>> = (0..301).map(|n| n.to_string().into()).collect();
        let reads = join_all(keys.iter().map(|key| together.read(key)));
        let answers: Vec<_> = runtime().block_on(reads);
        for (n, answer) in answers.into_iter().enumerate() {
            let expected = (n < 300).then(|| Bytes::from(n.to_string()));
            assert_eq!(answer.expect("it is there"), expected);
        }
        assert!(together.waiting().all.is_empty());
    }

    /// The first caller's runtime stands still after its first poll.
    #[test]
    fn a_runtime_that_nobody_drives_costs_others_a_part_of_their_budget_and_no_answer() {
        let ((store, together), key, still) = (together(), Arc::from("7"), runtime());
        let first = {
            let _entered = still.enter();
            begun(together.read(&key))
        };
        let others = runtime();
        others.block_on(async {
            let began = Instant::now();
            let keys: Vec<Arc<str>> = (0..50).map(|n| n.to_string().into()).collect();
            let reads = join_all(keys.iter().map(|key| together.read(key)));
            assert!(reads.await.iter().all(Result::is_ok));
            assert_eq!(began.elapsed(), together.patience());
            assert_eq!(store.calls(Call::Read), 1, "one of them asks for all");
            assert_eq!(together.read(&key).await.expect("it is there"), seven());
            assert_eq!(
                began.elapsed(),
                together.patience(),
                "the next ones wait for nothing"
            );
        });
        drop(first);
        // What the first one's runtime does at last disturbs nobody.
        still.block_on(tokio::task::yield_now());
        assert_eq!(
            others.block_on(together.read(&key)).expect("it is there"),
            seven()
        );
    }

    #[test]
    fn reads_that_leave_before_anybody_asks_are_not_kept_and_stand_in_nobodys_way() {
        let ((_, together), key, still) = (together(), Arc::from("7"), runtime());
        {
            let _entered = still.enter();
            drop(begun(together.read(&key)));
        }
        runtime().block_on(async {
            let step = together.patience() / 10;
            for _ in 0..100 {
                drop(begun(together.read(&key)));
                let waiting = together.waiting().all.len();
                assert!(waiting <= 20, "{waiting}");
                tokio::time::advance(step).await;
            }
            assert_eq!(together.read(&key).await.expect("it is there"), seven());
            assert!(together.waiting().all.is_empty());
        });
    }

    #[test]
    fn a_runtime_that_ends_takes_no_answer_with_it() {
        let ((_, together), key) = (together(), Arc::from("7"));
        let (gone, others) = (runtime(), runtime());
        {
            let _entered = gone.enter();
            drop(begun(together.read(&key)));
        }
        let waits = {
            let _entered = others.enter();
            begun(together.read(&key))
        };
        drop(gone);
        others.block_on(async {
            let began = Instant::now();
            assert_eq!(waits.await.expect("it is there"), seven());
            assert_eq!(together.read(&key).await.expect("it is there"), seven());
            assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for it");
        });
    }
}
