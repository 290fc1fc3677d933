mod call;
#[cfg(all(test, feature = "test-util"))]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::call::{Answer, Asks, Call, End, Work};
use super::gate::whole;
use super::{Portion, Remote, RemoteError};

/// So many calls under way make it likely that more reads come at once: before that, each goes by itself and waits for nobody.
const MANY: usize = 8;
/// The most keys of one call.
const MOST: u16 = 128;
/// Values above this go by themselves: whoever waits for one of them would wait for all others too.
const SMALL: usize = 4_096;

/// Reads that come at about the same time are made in one call: for client and server one of sixty keys is several times cheaper than sixty
/// of one.
///
/// The first of them starts a task that lets everybody run who can, and then asks for all that have come. None of them depends on the
/// caller of another one, nor on its runtime: where that task does not come to its turn, one of those who wait or come later does the same
/// in a task of its own; and where it has asked and does not see to the answer, those who wait for it do.
#[derive(Debug)]
pub(super) struct Together {
    remote: Arc<dyn Remote>,
    budget: Duration,
    offered: bool,
    /// How large values are lately, about.
    usual: AtomicUsize,
    /// Whether any has come so far: before that nobody knows what a call of many would bring.
    knows: AtomicBool,
    /// Keys of one call, as the link brings their values.
    portion: Portion,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How often all have been taken.
    rounds: u64,
    /// When a task was last started that is to take them.
    sent: Option<Instant>,
    all: Vec<Asks>,
    under_way: Vec<Call>,
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

impl Together {
    /// `knows`: as if some values had come already.
    pub(super) fn new(remote: Arc<dyn Remote>, budget: Duration, knows: bool) -> Arc<Self> {
        Arc::new(Self {
            offered: remote.reads_together(),
            remote,
            budget,
            usual: AtomicUsize::new(0),
            knows: AtomicBool::new(knows),
            portion: Portion::of(MOST),
            waiting: Mutex::default(),
        })
    }

    /// Whether a read is to go with others, when so many calls are under way.
    pub(super) fn is_better(&self, under_way: usize) -> bool {
        let offered = self.offered && under_way > MANY && self.knows.load(Ordering::Relaxed);
        offered && self.usual.load(Ordering::Relaxed) <= SMALL
    }

    /// Takes note of an answer, with a value of so many bytes if it has one.
    pub(super) fn saw(&self, bytes: Option<usize>) {
        if !self.knows.load(Ordering::Relaxed) {
            self.knows.store(true, Ordering::Relaxed);
        }
        let Some(bytes) = bytes else { return };
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
        let until = Instant::now() + self.budget;
        let round = self.add(Asks {
            key: Arc::clone(key),
            until,
            hears,
        });
        match tokio::time::timeout(self.patience(), &mut answer).await {
            Ok(Ok(answer)) => answer,
            heard => {
                let answer = heard.is_err().then_some(answer);
                Box::pin(self.late(key, round, answer, until)).await
            }
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
        until: Instant,
    ) -> Answer {
        let rest = async {
            if let Some(answer) = answer
                && let Some(answer) = self.see_to_all(round, answer).await
            {
                return answer;
            }
            if Instant::now() >= until {
                return Err(RemoteError::Timeout);
            }
            // Whoever was to ask has ended with its runtime.
            whole(async { self.remote.read(key).await }).await
        };
        let rest = tokio::time::timeout_at(until, rest).await;
        rest.unwrap_or(Err(RemoteError::Timeout))
    }

    /// Waits for an answer, and does all that is to be done for it, which others may do as well. `None`: nobody will give it.
    async fn see_to_all(
        self: &Arc<Self>,
        round: u64,
        mut answer: oneshot::Receiver<Answer>,
    ) -> Option<Answer> {
        loop {
            self.take_over(round);
            let calls = self.calls_of(round);
            let have_some = !calls.is_empty();
            tokio::select! {
                biased;
                heard = &mut answer => return heard.ok(),
                _ = join_all(calls), if have_some => {}
                () = tokio::time::sleep(self.patience()) => {}
            }
        }
    }

    fn calls_of(&self, round: u64) -> Vec<Work> {
        let waiting = self.waiting();
        let calls = waiting.under_way.iter().filter(|call| call.round == round);
        calls.map(|call| call.work.clone()).collect()
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

    /// Begins the calls for all that have come. From here on everybody who waits for one of them finds it.
    fn begin(&self) -> Vec<Call> {
        let now = Instant::now();
        let mut waiting = self.waiting();
        let round = waiting.rounds;
        let mut asked = waiting.take();
        // Whoever has left wants nothing.
        asked.retain(|asks| !asks.hears.is_closed());
        let mut calls = Vec::new();
        let most = usize::from(self.portion.asked());
        while !asked.is_empty() {
            let some = asked.split_off(asked.len().saturating_sub(most));
            calls.push(Call::new(&self.remote, round, some));
        }
        // Left by who stood still.
        let (over, goes_on): (Vec<_>, Vec<_>) = std::mem::take(&mut waiting.under_way)
            .into_iter()
            .partition(|call| call.until <= now);
        waiting.under_way = goes_on;
        waiting.under_way.extend(calls.iter().cloned());
        drop(waiting);
        drop(over);
        calls
    }

    /// As long as anybody may wait for it.
    async fn see_to(&self, call: &Call) {
        let _ended = Ended(self, call);
        let begun = Instant::now();
        let done = tokio::time::timeout_at(call.until, call.work.clone()).await;
        match done {
            Ok(End::Came) if call.keys >= usize::from(self.portion.asked()) => {
                let (took, no_way) = (begun.elapsed(), Duration::ZERO);
                self.portion.came(took, self.budget, no_way);
            }
            Ok(End::TooLate) if call.keys > 1 => {
                self.portion.failed(begun.elapsed(), self.budget);
            }
            Err(_) if call.keys > 1 => self.portion.failed(self.budget, self.budget),
            Ok(_) | Err(_) => {}
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its task sees to it no more.
struct Ended<'a>(&'a Together, &'a Call);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let Self(together, call) = self;
        let mut waiting = together.waiting();
        let mut others = waiting.under_way.iter();
        let at = others.position(|other| other.work.ptr_eq(&call.work));
        let gone = at.map(|at| waiting.under_way.swap_remove(at));
        drop(waiting);
        drop(gone);
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
        let calls = together.begin();
        join_all(calls.iter().map(|call| together.see_to(call))).await;
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
