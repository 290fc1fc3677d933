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
mod tests {
    use std::sync::atomic::Ordering;

    use shuttle::sync::atomic::AtomicU32;
    use shuttle::thread;

    use super::*;

    fn board(flights: &Arc<Flights<u32, u32>>, began: u32, join: bool) -> Seat<u32, u32> {
        flights.board(&"a".into(), |_| join, || began, 0, false)
    }

    fn pilot(seat: Seat<u32, u32>) -> Pilot<u32, u32> {
        match seat {
            Seat::Pilot(pilot) => pilot,
            Seat::Passenger(_) => panic!("somebody else is flying"),
        }
    }

    fn passenger(seat: Seat<u32, u32>) -> Passenger<u32> {
        match seat {
            Seat::Passenger(passenger) => passenger,
            Seat::Pilot(_) => panic!("nobody is flying"),
        }
    }

    fn arrive(passenger: Passenger<u32>) -> u32 {
        shuttle::future::block_on(passenger.arrive())
    }

    #[test]
    fn everybody_gets_the_one_result() {
        let test = || {
            let flights = Arc::new(Flights::new());
            let pilot = pilot(board(&flights, 1, true));
            let waiting = [
                pilot.passenger(0),
                passenger(board(&flights, 2, true)),
                passenger(board(&flights, 2, true)),
            ];
            pilot.land(7);
            for passenger in waiting {
                assert_eq!(arrive(passenger), 7);
            }
            assert_eq!(flights.len(), 0);
        };
        shuttle::check_random(test, 1);
    }

    #[test]
    fn a_pilot_that_is_dropped_strands_nobody() {
        let test = || {
            let flights = Arc::new(Flights::new());
            let pilot = pilot(board(&flights, 1, true));
            let waiting = passenger(board(&flights, 2, true));
            drop(pilot);
            assert_eq!(arrive(waiting), 0);
            assert_eq!(flights.len(), 0);
        };
        shuttle::check_random(test, 1);
    }

    #[test]
    fn an_outdated_flight_lands_beside_the_new_one() {
        let test = || {
            let flights = Arc::new(Flights::new());
            let old = pilot(board(&flights, 1, true));
            let new = pilot(board(&flights, 2, false));
            let waiting_old = old.passenger(0);
            old.land(1);
            let waiting_new = passenger(board(&flights, 3, true));
            new.land(2);
            assert_eq!((arrive(waiting_old), arrive(waiting_new)), (1, 2));
        };
        shuttle::check_random(test, 1);
    }

    fn in_hand(flights: &Arc<Flights<u32, u32>>) -> Seat<u32, u32> {
        flights.board(&"a".into(), |_| true, || 1, 0, true)
    }

    #[test]
    fn a_flight_in_hand_that_is_dropped_turns_back_and_one_that_was_handed_over_is_lost() {
        let test = || {
            let flights = Arc::new(Flights::new());
            for (handed_over, result) in [(false, None), (true, Some(0))] {
                let pilot = pilot(in_hand(&flights));
                let waiting = passenger(in_hand(&flights));
                if handed_over {
                    pilot.hand_over();
                }
                drop(pilot);
                let waiting = waiting.arrive_unless(std::future::pending());
                assert_eq!(shuttle::future::block_on(waiting), result);
                assert_eq!(flights.len(), 0);
            }
        };
        shuttle::check_random(test, 1);
    }

    #[test]
    fn nobody_waits_for_a_caller_that_does_not_get_on_and_the_next_one_flies() {
        let test = || {
            let flights = Arc::new(Flights::new());
            let slow = pilot(in_hand(&flights));
            let waiting = passenger(in_hand(&flights));
            let waiting = waiting.arrive_unless(std::future::ready(()));
            assert_eq!(shuttle::future::block_on(waiting), None);
            let quick = pilot(in_hand(&flights));
            slow.land(1);
            let waiting = passenger(in_hand(&flights));
            quick.hand_over();
            quick.land(2);
            let waiting = waiting.arrive_unless(std::future::ready(()));
            assert_eq!(shuttle::future::block_on(waiting), Some(2));
        };
        shuttle::check_random(test, 1);
    }

    /// Callers, of whom one in three drops its flight, and a change that nobody's flight may outlive. A caller that
    /// hangs is a deadlock, which shuttle reports.
    fn callers_around_a_change() {
        let flights: Arc<Flights<u32, u32>> = Arc::new(Flights::new());
        let changes = Arc::new(AtomicU32::new(1));
        let callers = [0, 1, 2].map(|number| {
            let (flights, changes) = (Arc::clone(&flights), Arc::clone(&changes));
            thread::spawn(move || {
                let known = changes.load(Ordering::SeqCst);
                let count = || changes.load(Ordering::SeqCst);
                let seat = flights.board(&"a".into(), |began| *began == count(), count, 0, false);
                let result = match seat {
                    Seat::Passenger(passenger) => arrive(passenger),
                    Seat::Pilot(pilot) => {
                        let own = pilot.passenger(0);
                        if number == 0 {
                            drop(pilot);
                        } else {
                            pilot.land(count());
                        }
                        arrive(own)
                    }
                };
                assert!(result == 0 || result >= known, "{result} after {known}");
            })
        });
        changes.fetch_add(1, Ordering::SeqCst);
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn in_no_order_does_a_caller_hang_or_get_what_a_change_made_old() {
        shuttle::check_random(callers_around_a_change, 3_000);
        shuttle::check_pct(callers_around_a_change, 3_000, 3);
    }

    /// A caller has the flight in hand and either drops it or gets on with it. The others have no patience with it and fly by
    /// themselves, while a change makes everything old that began before.
    fn callers_around_one_that_is_stuck(drops: bool) {
        let flights: Arc<Flights<u32, u32>> = Arc::new(Flights::new());
        let changes = Arc::new(AtomicU32::new(1));
        let callers = [0, 1, 2].map(|number| {
            let (flights, changes) = (Arc::clone(&flights), Arc::clone(&changes));
            thread::spawn(move || {
                let count = || changes.load(Ordering::SeqCst);
                let known = count();
                loop {
                    let seat =
                        flights.board(&"a".into(), |began| *began == count(), count, 0, true);
                    let result = match seat {
                        Seat::Pilot(pilot) if number == 0 && drops => {
                            thread::yield_now();
                            return drop(pilot);
                        }
                        Seat::Pilot(pilot) => {
                            let own = pilot.passenger(0);
                            thread::yield_now();
                            pilot.hand_over();
                            pilot.land(count());
                            Some(arrive(own))
                        }
                        Seat::Passenger(passenger) => {
                            let enough = shuttle::future::yield_now();
                            shuttle::future::block_on(passenger.arrive_unless(enough))
                        }
                    };
                    if let Some(result) = result {
                        assert!(result >= known, "{result} after {known}");
                        return;
                    }
                }
            })
        });
        changes.fetch_add(1, Ordering::SeqCst);
        for caller in callers {
            caller.join().unwrap();
        }
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn in_no_order_does_a_caller_hang_behind_one_that_has_the_flight_in_hand() {
        for drops in [false, true] {
            shuttle::check_random(move || callers_around_one_that_is_stuck(drops), 700);
            shuttle::check_pct(move || callers_around_one_that_is_stuck(drops), 700, 3);
        }
    }

    #[test]
    fn in_no_order_is_a_hurry_missed() {
        let test = || {
            let hurry = Arc::new(Hurry::default());
            let waits = Arc::clone(&hurry);
            let waits = thread::spawn(move || shuttle::future::block_on(waits.needed()));
            hurry.up();
            waits.join().unwrap();
        };
        shuttle::check_random(test, 1_000);
    }
}
