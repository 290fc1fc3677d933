use std::collections::HashMap;
use std::hash::BuildHasher;
#[cfg(not(test))]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(test)]
use std::sync::{Arc, PoisonError};

// Here a schedule is chosen at each lock: the tests go through many.
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

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

type Shard<T, B> = Mutex<HashMap<Arc<str>, Flight<T, B>>>;

#[derive(Debug)]
struct Flight<T, B> {
    began: B,
    result: watch::Receiver<Option<T>>,
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
    pub(crate) fn board(
        self: &Arc<Self>,
        key: &Arc<str>,
        may_join: impl FnOnce(&B) -> bool,
        now: impl FnOnce() -> B,
        lost: T,
    ) -> Seat<T, B> {
        let mut shard = self.shard(key);
        if let Some(flight) = shard.get(key)
            && may_join(&flight.began)
        {
            return Seat::Passenger(Passenger {
                result: flight.result.clone(),
                lost,
            });
        }
        let (sender, result) = watch::channel(None);
        shard.insert(
            Arc::clone(key),
            Flight {
                began: now(),
                result,
            },
        );
        Seat::Pilot(Pilot {
            flights: Arc::clone(self),
            key: Arc::clone(key),
            sender,
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
    fn shard(&self, key: &str) -> MutexGuard<'_, HashMap<Arc<str>, Flight<T, B>>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to land a flight. Dropped without landing, it lands with `lost`: nobody waits for ever.
#[derive(Debug)]
pub(crate) struct Pilot<T: Clone, B> {
    flights: Arc<Flights<T, B>>,
    key: Arc<str>,
    sender: watch::Sender<Option<T>>,
    lost: Option<T>,
}

impl<T: Clone, B> Pilot<T, B> {
    /// A seat on one's own flight.
    pub(crate) fn passenger(&self, lost: T) -> Passenger<T> {
        Passenger {
            result: self.sender.subscribe(),
            lost,
        }
    }

    /// Hands the result to everybody who waits. Those who come now start anew.
    pub(crate) fn land(mut self, result: T) {
        self.lost = Some(result);
    }
}

impl<T: Clone, B> Drop for Pilot<T, B> {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(&self.key);
        // A newer flight of the key may have taken the place after an invalidation.
        if shard
            .get(&self.key)
            .is_some_and(|flight| flight.result.same_channel(&self.sender.subscribe()))
        {
            shard.remove(&self.key);
        }
        drop(shard);
        self.sender.send_replace(self.lost.take());
    }
}

/// A place among those who wait.
#[derive(Debug)]
pub(crate) struct Passenger<T> {
    result: watch::Receiver<Option<T>>,
    lost: T,
}

impl<T: Clone> Passenger<T> {
    /// The result of the flight.
    pub(crate) async fn arrive(mut self) -> T {
        match self.result.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(self.lost),
            Err(_) => self.lost,
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
        flights.board(&"a".into(), |_| join, || began, 0)
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
                let seat = flights.board(&"a".into(), |began| *began == count(), count, 0);
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
}
