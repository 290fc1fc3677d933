//! When each operation under way began, in a fixed number of places.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::alert::{AlertKind, Gate};
use crate::stats::{Recent, Side};

/// Operations of one name that are watched at a time; further ones are measured and not watched.
const SLOTS: usize = 64;
/// Places that are tried, each by its own exchange, before all of them are looked at.
const TRIES: usize = 8;
/// Set in a slot once somebody was told that its operation is still running.
const TOLD: u64 = 1;

/// Claiming and releasing a place takes one atomic operation each; only the watchdog reads all of them.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Zero is free; otherwise twice the start plus two, and [`TOLD`].
    places: Box<[AtomicU64]>,
    /// None of them was free; until one is given back, or the watchdog looks. Among so many operations of one name each
    /// further one would look at all places in vain.
    full: AtomicBool,
}

thread_local! {
    /// Where this thread looks for a free place first: a counter of its own costs no other thread a cache line.
    static NEXT: Cell<usize> = const { Cell::new(0) };
}

/// Something with operations under way.
pub(crate) trait Watched: Send + Sync + std::fmt::Debug {
    /// Brings the gauges of numbers in flight up to date. Called under the hub's lock.
    fn show(&self, _now: u64) {}

    /// Raises an alert for each operation that is over its threshold and was not told yet.
    fn look(&self, _now: u64) {}

    /// Does what is to be done at every look.
    fn settle(&self, _now: u64) {}

    /// Shows the limit on each kind of alert of each subject.
    fn gates(&self, _visit: &mut dyn FnMut(AlertKind, &str, &Gate)) {}

    /// How busy it is, if it is a runtime.
    #[cfg(feature = "dashboard")]
    fn busy(&self) -> Option<crate::stats::Busy> {
        None
    }

    /// Shows the numbers of each name, used or not.
    fn each(&self, _visit: &mut dyn FnMut(Side, &str, &Recent)) {}
}

/// A claimed place.
pub(crate) type Place = Option<u8>;

impl Default for Slots {
    fn default() -> Self {
        Self {
            places: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            full: AtomicBool::new(false),
        }
    }
}

impl Slots {
    pub(crate) fn claim(&self, started: u64) -> Place {
        if self.full.load(Ordering::Relaxed) {
            return None;
        }
        let state = started.saturating_add(1).checked_mul(2)?;
        let first = NEXT.get();
        NEXT.set(first.wrapping_add(1));
        let take = |step| self.take(first.wrapping_add(step) % SLOTS, state);
        (0..TRIES)
            .find_map(take)
            .or_else(|| self.claim_any(first.wrapping_add(TRIES), state))
    }

    /// Takes the first place that is free: among many that are taken one may be left anywhere.
    #[cold]
    fn claim_any(&self, first: usize, state: u64) -> Place {
        let is_free = |at: &usize| {
            let place = self.places.get(*at);
            // Read first: an exchange would take the cache line from whoever is there.
            place.is_some_and(|place| place.load(Ordering::Relaxed) == 0)
        };
        let found = (0..SLOTS)
            .map(|step| first.wrapping_add(step) % SLOTS)
            .filter(is_free)
            .find_map(|at| self.take(at, state));
        if found.is_none() {
            self.full.store(true, Ordering::Relaxed);
        }
        found
    }

    fn take(&self, at: usize, state: u64) -> Place {
        let place = self.places.get(at)?;
        place
            .compare_exchange(0, state, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        u8::try_from(at).ok()
    }

    pub(crate) fn release(&self, place: Place) {
        if let Some(place) = place.and_then(|at| self.places.get(usize::from(at))) {
            place.store(0, Ordering::Relaxed);
            self.make_way();
        }
    }

    fn make_way(&self) {
        // Read first: almost always there is way, and a store would take the cache line from everybody.
        if self.full.load(Ordering::Relaxed) {
            self.full.store(false, Ordering::Relaxed);
        }
    }

    /// How long each operation over the threshold has been running; each is told once.
    pub(crate) fn overdue(&self, now: u64, threshold: u64) -> impl Iterator<Item = u64> {
        // A place that was given back in the moment in which it was found that there is none.
        self.make_way();
        self.places.iter().filter_map(move |place| {
            let state = place.load(Ordering::Relaxed);
            let started = (state / 2).checked_sub(1)?;
            let elapsed = now.saturating_sub(started);
            let is_new = state & TOLD == 0 && elapsed > threshold;
            // Another operation may have taken the place since: then the state differs and nothing is told.
            let told = is_new
                && place
                    .compare_exchange(state, state | TOLD, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            told.then_some(elapsed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_told_once_and_only_when_it_is_over_the_threshold() {
        let slots = Slots::default();
        let place = slots.claim(1_000);
        assert!(place.is_some());
        assert_eq!(
            slots.overdue(1_100, 100).count(),
            0,
            "exactly at the threshold"
        );
        assert_eq!(slots.overdue(1_101, 100).collect::<Vec<_>>(), [101]);
        assert_eq!(slots.overdue(9_999, 100).count(), 0, "told already");
        slots.release(place);
        assert!(slots.claim(9_999).is_some());
        assert_eq!(
            slots.overdue(9_999, 100).count(),
            0,
            "a new operation in the same place"
        );
    }

    #[test]
    fn more_operations_than_places_go_unwatched_and_free_places_are_used_again() {
        let slots = Slots::default();
        let places: Vec<Place> = (0..SLOTS + 10).map(|_| slots.claim(0)).collect();
        assert_eq!(places.iter().flatten().count(), SLOTS);
        places.into_iter().for_each(|place| slots.release(place));
        assert_eq!((0..SLOTS).filter_map(|_| slots.claim(5)).count(), SLOTS);
    }

    // The order: an operation finds no place, one is given back, and only then the first one takes note.
    #[test]
    fn a_place_that_came_free_unnoticed_is_found_after_the_next_look() {
        let slots = Slots::default();
        let mut places: Vec<Place> = (0..SLOTS).map(|_| slots.claim(0)).collect();
        assert_eq!(slots.claim(0), None);
        slots.release(places.remove(7));
        slots.full.store(true, Ordering::Relaxed);
        assert_eq!(slots.claim(0), None, "nobody looks");
        assert_eq!(slots.overdue(0, 1).count(), 0);
        assert!(slots.claim(0).is_some());
    }

    #[test]
    fn a_free_place_is_found_wherever_it_is() {
        for free in 0..SLOTS {
            let slots = Slots::default();
            let mut places: Vec<Place> = (0..SLOTS).map(|_| slots.claim(0)).collect();
            let of_place = |place: &Place| place.is_some_and(|at| usize::from(at) == free);
            let held = places.iter().position(of_place).expect("all are taken");
            slots.release(places.swap_remove(held));
            assert!(slots.claim(1_000).is_some(), "place {free}");
            assert_eq!(slots.overdue(1_200, 1_199).count(), SLOTS - 1);
            assert_eq!(slots.overdue(2_200, 1_199).count(), 1, "place {free}");
            assert_eq!(slots.claim(0), None);
        }
    }

    #[test]
    fn a_clock_at_its_end_is_not_watched() {
        assert_eq!(Slots::default().claim(u64::MAX), None);
    }
}
