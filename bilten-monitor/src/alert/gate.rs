//! The rate limit: one alert for each subject and window, and a bound over all subjects.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One subject's limit; it lives beside the subject's series, so it is bounded like the labels are.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The clock reading from which the next alert may pass.
    open_at: AtomicU64,
    suppressed: AtomicU64,
    worst: AtomicU64,
    /// The clock reading of the last incident.
    last: AtomicU64,
    /// An alert has passed, and no notice that it is over.
    told: AtomicBool,
    /// Some were held back because all subjects together had too many.
    crowded: AtomicBool,
}

/// Why an alert does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// Its subject had one in this window.
    Window,
    /// All subjects together had enough.
    Burst,
}

/// What an alert that passes has to tell of those that did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    /// How many were held back since the last one that passed.
    pub(crate) suppressed: u64,
    /// The largest value among them and this one.
    pub(crate) worst: u64,
}

impl Gate {
    /// Lets the first of each window through, and counts the others.
    pub(crate) fn admit(&self, now: u64, window: u64, burst: &Burst, value: u64) -> Option<Passed> {
        let passed = self.pass(now, window, burst, value);
        if let Err(held) = passed {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            if held == Held::Burst && !self.crowded.load(Ordering::Relaxed) {
                self.crowded.store(true, Ordering::Release);
            }
        }
        passed.ok()
    }

    /// Lets a state through that lasts and is looked at again and again, once for each window. It is the same state
    /// at every look, so what does not pass was not held back.
    pub(crate) fn remind(&self, now: u64, window: u64, burst: &Burst) -> Option<Passed> {
        self.pass(now, window, burst, 0).ok()
    }

    fn pass(&self, now: u64, window: u64, burst: &Burst, value: u64) -> Result<Passed, Held> {
        self.worst.fetch_max(value, Ordering::Relaxed);
        self.last.fetch_max(now, Ordering::Relaxed);
        let open_at = self.open_at.load(Ordering::Relaxed);
        let next = now.saturating_add(window);
        if now < open_at {
            return Err(Held::Window);
        }
        // The window first: who loses it to another thread takes no place from the other subjects.
        self.claim(open_at, next)?;
        if !burst.has_room(now, window) {
            // Nothing passed, so the window is open still; unless a later one has begun meanwhile.
            let _ = self.claim(next, open_at);
            return Err(Held::Burst);
        }
        self.told.store(true, Ordering::Release);
        Ok(self.take(value))
    }

    fn claim(&self, open_at: u64, next: u64) -> Result<(), Held> {
        self.open_at
            .compare_exchange(open_at, next, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
            .map_err(|_| Held::Window)
    }

    /// What was held back for want of room, told once; the next alert of this subject then tells of later ones only.
    pub(crate) fn crowded_out(&self) -> Option<Passed> {
        let is_crowded =
            self.crowded.load(Ordering::Relaxed) && self.crowded.swap(false, Ordering::Acquire);
        is_crowded
            .then(|| self.take(0))
            .filter(|held| held.suppressed > 0)
    }

    /// What there is to say once nothing happened for a whole window after an alert; each time once.
    pub(crate) fn recover(&self, now: u64, window: u64) -> Option<Passed> {
        let over = self.is_quiet(now, window) && self.take_told(now, window);
        over.then(|| self.take(0))
    }

    fn is_quiet(&self, now: u64, window: u64) -> bool {
        now.saturating_sub(self.last.load(Ordering::Relaxed)) > window
    }

    /// Takes note that it was told that it is over, unless an alert has passed since it was found to be quiet: that one
    /// is not over.
    fn take_told(&self, now: u64, window: u64) -> bool {
        let told = self.told.load(Ordering::Relaxed) && self.told.swap(false, Ordering::Acquire);
        let over = told && self.is_quiet(now, window);
        if told && !over {
            self.told.store(true, Ordering::Release);
        }
        over
    }

    fn take(&self, value: u64) -> Passed {
        Passed {
            suppressed: self.suppressed.swap(0, Ordering::Relaxed),
            worst: self.worst.swap(0, Ordering::Relaxed).max(value),
        }
    }
}

/// The limit over all subjects: so many alerts in each window.
#[derive(Debug)]
pub(crate) struct Burst {
    limit: u64,
    /// The window's number in the upper half, the alerts in it in the lower.
    state: AtomicU64,
    /// One more than the number of the window in which there was no room last; zero once that was told.
    full: AtomicU64,
}

impl Burst {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: u64::from(limit),
            state: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    fn number(now: u64, window: u64) -> u64 {
        (now / window.max(1)) & 0xffff_ffff
    }

    /// Whether there was no room in a window that is over, or in this one when `at_once`; each time once.
    pub(crate) fn was_full(&self, now: u64, window: u64, at_once: bool) -> bool {
        let full = self.full.load(Ordering::Relaxed);
        let is_over = full > 0 && (at_once || full != Self::number(now, window) + 1);
        is_over && self.full.swap(0, Ordering::Relaxed) > 0
    }

    fn has_room(&self, now: u64, window: u64) -> bool {
        let number = Self::number(now, window);
        let take = |state: u64| {
            let used = if state >> 32 == number {
                state & 0xffff_ffff
            } else {
                0
            };
            (used < self.limit).then(|| (number << 32) | (used + 1))
        };
        let has_room = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok();
        if !has_room && self.full.load(Ordering::Relaxed) != number + 1 {
            self.full.store(number + 1, Ordering::Relaxed);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u64 = 60;

    #[test]
    fn the_first_passes_and_the_next_window_tells_of_the_others() {
        let (gate, burst) = (Gate::default(), Burst::new(10));
        assert_eq!(
            gate.admit(0, WINDOW, &burst, 5),
            Some(Passed {
                suppressed: 0,
                worst: 5
            })
        );
        for value in 0..9_999 {
            assert_eq!(gate.admit(1, WINDOW, &burst, value), None);
        }
        let passed = gate.admit(61, WINDOW, &burst, 7);
        assert_eq!(
            passed,
            Some(Passed {
                suppressed: 9_999,
                worst: 9_998
            })
        );
    }

    #[test]
    fn a_state_that_lasts_is_told_once_a_window_and_holds_nothing_back() {
        let (gate, burst) = (Gate::default(), Burst::new(10));
        let nothing_held_back = Some(Passed {
            suppressed: 0,
            worst: 0,
        });
        let told = |now| gate.remind(now, WINDOW, &burst);
        assert_eq!(told(0), nothing_held_back);
        assert!((1..60).all(|now| told(now).is_none()));
        assert_eq!(told(60), nothing_held_back);
        assert_eq!(gate.recover(121, WINDOW), nothing_held_back, "it is over");
    }

    #[test]
    fn a_quiet_window_after_an_alert_is_told_once() {
        let (gate, burst) = (Gate::default(), Burst::new(10));
        assert_eq!(gate.recover(1_000, WINDOW), None, "nothing was wrong");
        assert!(gate.admit(1_000, WINDOW, &burst, 5).is_some());
        assert!(gate.admit(1_030, WINDOW, &burst, 9).is_none());
        assert_eq!(
            gate.recover(1_090, WINDOW),
            None,
            "60 after the last incident is not quiet yet"
        );
        let over = Passed {
            suppressed: 1,
            worst: 9,
        };
        assert_eq!(gate.recover(1_091, WINDOW), Some(over));
        assert_eq!(gate.recover(9_999, WINDOW), None, "told already");
        assert_eq!(
            gate.admit(9_999, WINDOW, &burst, 5)
                .map(|passed| passed.suppressed),
            Some(0)
        );
    }

    // The order: the watchdog has found it quiet, an alert passes, the watchdog goes on.
    #[test]
    fn an_alert_that_passes_while_the_end_of_the_one_before_is_told_is_not_over() {
        let (gate, burst) = (Gate::default(), Burst::new(10));
        assert!(gate.admit(1_000, WINDOW, &burst, 5).is_some());
        assert!(gate.is_quiet(1_100, WINDOW));
        assert!(gate.admit(1_100, WINDOW, &burst, 7).is_some());
        assert!(!gate.take_told(1_100, WINDOW));
        assert!(gate.recover(1_161, WINDOW).is_some(), "told when it is");
    }

    #[test]
    fn all_subjects_together_keep_the_burst() {
        let burst = Burst::new(3);
        let gates: Vec<Gate> = (0..10).map(|_| Gate::default()).collect();
        let passed = gates
            .iter()
            .filter(|gate| gate.admit(5, WINDOW, &burst, 1).is_some())
            .count();
        assert_eq!(passed, 3);
        let later = gates
            .iter()
            .filter(|gate| gate.admit(65, WINDOW, &burst, 1).is_some())
            .count();
        assert_eq!(later, 3, "a new window has room again");
    }

    #[test]
    fn what_found_no_room_is_told_once_the_window_is_over() {
        let burst = Burst::new(1);
        let (first, second) = (Gate::default(), Gate::default());
        assert!(first.admit(0, WINDOW, &burst, 1).is_some());
        assert!(!burst.was_full(70, WINDOW, false), "nothing was held back");
        assert!(first.admit(1, WINDOW, &burst, 1).is_none());
        assert!(
            !burst.was_full(70, WINDOW, true),
            "its own window held it back"
        );
        assert!(second.admit(2, WINDOW, &burst, 7).is_none());
        assert!(second.admit(3, WINDOW, &burst, 5).is_none());
        assert!(
            !burst.was_full(59, WINDOW, false),
            "the window is not over yet"
        );
        assert!(burst.was_full(60, WINDOW, false));
        assert!(!burst.was_full(60, WINDOW, false), "told already");
        assert_eq!(first.crowded_out(), None);
        let held = Passed {
            suppressed: 2,
            worst: 7,
        };
        assert_eq!(second.crowded_out(), Some(held));
        assert_eq!(second.crowded_out(), None);
        let next = second.admit(61, WINDOW, &burst, 1).expect("room again");
        assert_eq!(next.suppressed, 0, "those are told");
    }

    #[test]
    fn who_loses_the_race_for_a_window_takes_no_place_from_the_others() {
        const SUBJECTS: u32 = 20_000;
        let burst = Burst::new(SUBJECTS);
        let gates: Vec<Gate> = (0..SUBJECTS).map(|_| Gate::default()).collect();
        let arrived = AtomicU64::new(0);
        let race = || {
            let admit = |(at, gate): (u64, &Gate)| {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < 2 * (at + 1) {
                    std::thread::yield_now();
                }
                gate.admit(1, WINDOW, &burst, 1).is_some()
            };
            (0..).zip(&gates).filter(|each| admit(*each)).count()
        };
        let passed: usize = std::thread::scope(|scope| {
            let racers = [(); 2].map(|()| scope.spawn(race));
            let joined = racers.map(|racer| racer.join().expect("joined"));
            joined.iter().sum()
        });
        assert_eq!(passed, gates.len(), "there was a place for each");
        assert!(!burst.was_full(1, WINDOW, true));
    }

    #[test]
    fn a_window_without_room_stays_open_for_the_next_one_that_has() {
        let burst = Burst::new(1);
        let (first, second) = (Gate::default(), Gate::default());
        assert!(first.admit(50, WINDOW, &burst, 1).is_some());
        assert!(second.admit(55, WINDOW, &burst, 1).is_none());
        assert!(second.admit(60, WINDOW, &burst, 1).is_some());
    }

    #[test]
    fn one_of_many_racing_threads_passes() {
        let (gate, burst) = (Gate::default(), Burst::new(100));
        let passed: Vec<Passed> = std::thread::scope(|scope| {
            let race = || {
                let alerts = (0..1000).filter_map(|_| gate.admit(1, WINDOW, &burst, 1));
                alerts.collect::<Vec<_>>()
            };
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
            let joined = racers
                .into_iter()
                .map(|racer| racer.join().expect("joined"));
            joined.flatten().collect()
        });
        assert_eq!(passed.len(), 1);
        let next = gate.admit(100, WINDOW, &burst, 1).expect("a new window");
        // Who lost before the winner had taken the count is told with it already.
        assert_eq!(passed[0].suppressed + next.suppressed, 3_999);
    }
}
