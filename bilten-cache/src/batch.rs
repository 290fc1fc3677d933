//! One call of a loader for many keys. Each key flies by itself; the flights that need a load meet here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::job::{Asked, Outcome};
use crate::loader::Loaded;
use crate::remote::Demand;
use crate::running::Running;
use crate::single_flight::Hurry;
use crate::turns::Turns;

/// What a flight hears about its key.
pub(crate) type Answer<V> = Result<Loaded<V>, Outcome>;

/// A key that needs a load, and who waits for it.
pub(crate) struct Wanted<O, V> {
    pub(crate) name: O,
    pub(crate) key: Arc<str>,
    /// Where its call names it.
    pub(crate) at: usize,
    pub(crate) at_least: Option<Demand>,
    /// To be told when the call has its place.
    pub(crate) runs: Arc<Running>,
    pub(crate) answer: oneshot::Sender<Answer<V>>,
}

/// Collects the keys that need a load and calls the loader once, when every flight has said whether it needs one.
///
/// A flight that waits for another process is not waited for: two processes with overlapping batches would otherwise wait for
/// each other. If it needs a load after all, it gets a call of its own.
pub(crate) struct Batch<O, V> {
    run: Run<O, V>,
    hurry: Arc<Hurry>,
    turns: Arc<Turns>,
    pending: Mutex<Pending<O, V>>,
}

type Run<O, V> = Box<dyn Fn(Vec<Wanted<O, V>>) + Send + Sync>;

struct Pending<O, V> {
    undecided: usize,
    wanted: Vec<Wanted<O, V>>,
}

impl<O: Send + 'static, V: Send + Sync + 'static> Batch<O, V> {
    /// Its keys ask the second level in `turns`. `run` calls the loader, in a task of its own, and answers everybody.
    pub(crate) fn new(
        keys: usize,
        hurry: Arc<Hurry>,
        turns: Turns,
        run: impl Fn(Vec<Wanted<O, V>>) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let pending = Pending {
            undecided: keys,
            wanted: Vec::new(),
        };
        Arc::new(Self {
            run: Box::new(run),
            hurry,
            turns: Arc::new(turns),
            pending: Mutex::new(pending),
        })
    }

    /// The place of the key that the call names there.
    pub(crate) fn place(self: &Arc<Self>, at: usize) -> Place<O, V> {
        Place {
            batch: Arc::clone(self),
            at,
            decided: Arc::default(),
            runs: Arc::default(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Pending<O, V>)) {
        let mut pending = self.pending();
        change(&mut pending);
        if pending.undecided > 0 || pending.wanted.is_empty() {
            return;
        }
        let mut wanted = std::mem::take(&mut pending.wanted);
        drop(pending);
        wanted.sort_unstable_by_key(|wanted| wanted.at);
        // Dropped outside of a runtime, a call can start nothing: then nobody answers.
        if Handle::try_current().is_ok() {
            (self.run)(wanted);
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending<O, V>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One key's place in a batch. Dropped without a load, it needs none.
pub(crate) struct Place<O: Send + 'static, V: Send + Sync + 'static> {
    batch: Arc<Batch<O, V>>,
    at: usize,
    decided: Arc<AtomicBool>,
    runs: Arc<Running>,
}

impl<O: Send + 'static, V: Send + Sync + 'static> Place<O, V> {
    /// To be told when the key's flight waits for another process, or is in a hurry.
    pub(crate) fn asked(&self) -> Asked {
        let (batch, decided) = (Arc::clone(&self.batch), Arc::clone(&self.decided));
        Asked {
            hurry: Arc::clone(&batch.hurry),
            turns: Arc::clone(&batch.turns),
            runs: Arc::clone(&self.runs),
            over: None,
            on_wait: Arc::new(move || decide(&batch, &decided)),
        }
    }

    /// Asks for a load of the key.
    pub(crate) async fn load(self, name: O, key: Arc<str>, at_least: Option<Demand>) -> Answer<V> {
        let (answer, hears) = oneshot::channel();
        let wanted = Wanted {
            name,
            key,
            at: self.at,
            at_least,
            runs: Arc::clone(&self.runs),
            answer,
        };
        let first = !self.decided.swap(true, Ordering::AcqRel);
        self.batch.change(|pending| {
            pending.undecided -= usize::from(first);
            pending.wanted.push(wanted);
        });
        hears.await.unwrap_or(Err(Outcome::Lost))
    }
}

impl<O: Send + 'static, V: Send + Sync + 'static> Drop for Place<O, V> {
    fn drop(&mut self) {
        decide(&self.batch, &self.decided);
    }
}

fn decide<O: Send + 'static, V: Send + Sync + 'static>(batch: &Batch<O, V>, decided: &AtomicBool) {
    if !decided.swap(true, Ordering::AcqRel) {
        batch.change(|pending| pending.undecided -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Calls = Arc<Mutex<Vec<Vec<u8>>>>;

    fn batch(keys: usize) -> (Arc<Batch<u8, u8>>, Calls) {
        let calls = Calls::default();
        let log = Arc::clone(&calls);
        let run = move |wanted: Vec<Wanted<u8, u8>>| {
            log.lock()
                .unwrap()
                .push(wanted.iter().map(|w| w.name).collect());
            for wanted in wanted {
                let _ = wanted.answer.send(Ok(Loaded::new(wanted.name)));
            }
        };
        (
            Batch::new(keys, Arc::default(), Turns::new(8, Duration::MAX), run),
            calls,
        )
    }

    #[tokio::test]
    async fn the_loader_is_called_once_when_every_key_has_decided() {
        let (batch, calls) = batch(3);
        let [one, two, three] = [0, 1, 2].map(|at| batch.place(at));
        let load = |place: Place<u8, u8>, name| tokio::spawn(place.load(name, "".into(), None));
        let (one, three) = (load(one, 1), load(three, 3));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(
            calls.lock().unwrap().is_empty(),
            "the second may need one too"
        );
        drop(two);
        assert_eq!(*one.await.unwrap().unwrap().value, 1);
        assert_eq!(*three.await.unwrap().unwrap().value, 3);
        assert_eq!(*calls.lock().unwrap(), [[1, 3]]);
    }

    #[tokio::test]
    async fn the_loader_gets_the_keys_in_the_order_of_the_call() {
        let (batch, calls) = batch(4);
        let mut places = [0, 1, 2, 3].map(|at| (at, batch.place(at.into())));
        places.reverse();
        for (name, place) in places {
            tokio::spawn(place.load(name, "".into(), None));
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        assert_eq!(*calls.lock().unwrap(), [[0, 1, 2, 3]]);
    }

    #[tokio::test]
    async fn a_call_that_ends_without_an_answer_is_lost_and_says_nothing_about_its_keys() {
        let gone = |wanted: Vec<Wanted<u8, u8>>| drop(wanted);
        let batch = Batch::new(1, Arc::default(), Turns::new(8, Duration::MAX), gone);
        let answer = batch.place(0).load(1, "".into(), None).await;
        assert!(matches!(answer, Err(Outcome::Lost)));
    }

    #[tokio::test]
    async fn who_waits_for_another_process_holds_nobody_up() {
        let (batch, calls) = batch(2);
        let (one, two) = (batch.place(0), batch.place(1));
        (two.asked().on_wait)();
        (two.asked().on_wait)();
        assert_eq!(*one.load(1, "".into(), None).await.unwrap().value, 1);
        assert_eq!(*two.load(2, "".into(), None).await.unwrap().value, 2);
        assert_eq!(*calls.lock().unwrap(), [[1], [2]]);
    }
}
