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
                let seat = flights.board(&"a".into(), |began| *began == count(), count, 0, true);
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
