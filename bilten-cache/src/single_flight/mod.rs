use std::collections::HashMap;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};

// Here a schedule is chosen at each lock and each look: the tests go through many.
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicBool};

use tokio::sync::Notify;

/// One map per shard, so that loads of different keys seldom wait for each other.
const SHARDS: usize = 16;

/// Lets one of many callers do the work of a key and hands its result to the others.
///
/// Knows nothing of caches: `T` is the result, `B` what a flight knew when it began, by which a later
/// caller decides whether it may still wait for it.
#[derive(Debug)]
pub(crate) struct Flights<T, B> {
    shards: Box<[Shard<T, B>]>,
    hasher: foldhash::fast::RandomState,
}

type Shard<T, B> = Mutex<Aloft<T, B>>;
type Aloft<T, B> = HashMap<Arc<str>, Flight<T, B>, foldhash::fast::RandomState>;

#[derive(Debug)]
struct Flight<T, B> {
    began: B,
    board: Arc<Board<T>>,
}

/// Where those who wait see what became of a flight.
#[derive(Debug)]
struct Board<T> {
    /// `None`: it turned back.
    result: OnceLock<Option<T>>,
    changed: Notify,
    /// Whether a caller flies it in a task that is not ours.
    in_hand: AtomicBool,
    /// Whether somebody has waited too long for such a caller.
    stuck: AtomicBool,
    hurry: Hurry,
}

/// Whether somebody waits who keeps others waiting: then nobody may be waited for first.
#[derive(Debug)]
pub(crate) struct Hurry {
    needed: AtomicBool,
    changed: Notify,
}

impl Default for Hurry {
    fn default() -> Self {
        Self {
            needed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }
}

impl Hurry {
    pub(crate) fn up(&self) {
        self.needed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_up(&self) -> bool {
        self.needed.load(Ordering::Acquire)
    }

    /// Until it is needed.
    pub(crate) async fn needed(&self) {
        let changed = self.changed.notified();
        let mut changed = pin!(changed);
        // Before the look, so that nothing in between is missed.
        changed.as_mut().enable();
        if !self.is_up() {
            changed.await;
        }
    }
}

impl<T> Board<T> {
    fn is_in_hand(&self) -> bool {
        self.in_hand.load(Ordering::Acquire)
    }
}

impl<T: Clone, B> Default for Flights<T, B> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a caller got.
#[derive(Debug)]
pub(crate) enum Seat<T: Clone, B> {
    /// It has to do the work and land it.
    Pilot(Pilot<T, B>),
    /// Somebody else does.
    Passenger(Passenger<T>),
}

impl<T: Clone, B> Flights<T, B> {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Boards the key's flight if `may_join` accepts when it began, or starts one that began at `now`.
    ///
    /// `in_hand`: whoever starts it begins the work in a task of its own, which may be dropped or not be run for a while. Until
    /// [`Pilot::hand_over`] nobody depends on it.
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &Arc<str>,
        may_join: impl FnOnce(&B) -> bool,
        now: impl FnOnce() -> B,
        lost: T,
        in_hand: bool,
    ) -> Seat<T, B> {
        let mut shard = self.shard(key);
        if let Some(flight) = shard.get(key)
            && may_join(&flight.began)
            && !flight.board.stuck.load(Ordering::Acquire)
        {
            let board = Arc::clone(&flight.board);
            return Seat::Passenger(Passenger { board, lost });
        }
        let board = Arc::new(Board {
            result: OnceLock::new(),
            changed: Notify::new(),
            in_hand: AtomicBool::new(in_hand),
            stuck: AtomicBool::new(false),
            hurry: Hurry::default(),
        });
        let flight = Flight {
            began: now(),
            board: Arc::clone(&board),
        };
        shard.insert(Arc::clone(key), flight);
        Seat::Pilot(Pilot {
            flights: Arc::clone(self),
            key: Arc::clone(key),
            board,
            lost: Some(lost),
        })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }
}

impl<T, B> Flights<T, B> {
    fn shard(&self, key: &str) -> MutexGuard<'_, Aloft<T, B>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to land a flight. Dropped without landing, it lands with `lost`, or turns back while it is in hand: nobody waits for
/// ever.
#[derive(Debug)]
pub(crate) struct Pilot<T: Clone, B> {
    flights: Arc<Flights<T, B>>,
    key: Arc<str>,
    board: Arc<Board<T>>,
    lost: Option<T>,
}

impl<T: Clone, B> Pilot<T, B> {
    /// A seat on one's own flight.
    pub(crate) fn passenger(&self, lost: T) -> Passenger<T> {
        let board = Arc::clone(&self.board);
        Passenger { board, lost }
    }

    /// Whether those who come still board it: nobody has waited for it in vain.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.board.stuck.load(Ordering::Acquire)
    }

    /// From here on the flight is in a task that runs to its end whatever becomes of callers.
    pub(crate) fn hand_over(&self) {
        self.board.in_hand.store(false, Ordering::Release);
    }

    /// Whether somebody on board keeps others waiting.
    pub(crate) fn hurry(&self) -> &Hurry {
        &self.board.hurry
    }

    /// Hands the result to everybody who waits. Those who come now start anew.
    pub(crate) fn land(mut self, result: T) {
        self.hand_over();
        self.lost = Some(result);
    }
}

impl<T: Clone, B> Drop for Pilot<T, B> {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(&self.key);
        // A newer flight of the key may have taken the place after an invalidation.
        if shard
            .get(&self.key)
            .is_some_and(|flight| Arc::ptr_eq(&flight.board, &self.board))
        {
            shard.remove(&self.key);
        }
        drop(shard);
        let result = self.lost.take().filter(|_| !self.board.is_in_hand());
        let _ = self.board.result.set(result);
        self.board.changed.notify_waiters();
    }
}

/// A place among those who wait.
#[derive(Debug)]
pub(crate) struct Passenger<T> {
    board: Arc<Board<T>>,
    lost: T,
}

impl<T: Clone> Passenger<T> {
    /// The flight must wait for nobody who waits for this passenger.
    pub(crate) fn hurry(&self) {
        self.board.hurry.up();
    }

    /// The result of a flight that is in nobody's hand.
    pub(crate) async fn arrive(self) -> T {
        let lost = self.lost.clone();
        self.arrive_unless(std::future::pending())
            .await
            .unwrap_or(lost)
    }

    /// The result of the flight. `None`: it is in the hand of a caller who has dropped it, or does not get on with it until `enough`
    /// ends. Whoever boards now starts another one.
    pub(crate) async fn arrive_unless(self, enough: impl Future<Output = ()>) -> Option<T> {
        let mut enough = pin!(enough);
        let mut patient = true;
        loop {
            let changed = self.board.changed.notified();
            let mut changed = pin!(changed);
            // Before the look, so that a landing in between is not missed.
            changed.as_mut().enable();
            if let Some(result) = self.board.result.get() {
                return result.clone();
            }
            tokio::select! {
                biased;
                () = &mut changed => {}
                () = &mut enough, if patient && self.board.is_in_hand() => {
                    patient = false;
                    if self.board.is_in_hand() {
                        self.board.stuck.store(true, Ordering::Release);
                        return None;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
