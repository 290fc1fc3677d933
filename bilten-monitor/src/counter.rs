//! The processor's own counter as a clock, for as long as it runs as the system's clock does.
//!
//! The system's clock reads the same counter and then costs three times as much. Whether the counter can be used at
//! all is the system's to say; how fast it runs is measured here over whole seconds, and looked at every second: a
//! counter that runs differently from one look to the next, as after a sleep, is left for good.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::nanos::nanos;

/// Where Linux says which clock it uses itself.
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Counters that run at one speed and alike on all processors, or the system would not use them.
const COUNTERS: [&str; 2] = ["tsc", "arch_sys_counter"];
/// A rate is a number of nanoseconds with so many bits behind the point.
const RATE_BITS: u32 = 32;
/// Looks closer together than this say nothing about a rate.
const SHORTEST: u64 = 500_000_000;
/// A system sets its clock right by at most half of this part of the time.
const TOLERANCE: u64 = 1000;
/// A reading of both clocks took longer when something came between.
const AT_ONCE: u64 = 5_000;
const TRIES: usize = 16;
/// What others may have read of the counter while it is left.
const MEANWHILE: u64 = 1_000_000;

/// The system's clock, and the counter once it is known how fast that runs.
#[derive(Debug)]
pub(crate) struct System {
    epoch: Instant,
    counter: OnceLock<Counter>,
    /// How far the counter was ahead of the system's clock when it was left: time goes on from there.
    ahead: AtomicU64,
}

#[derive(Debug)]
struct Counter {
    clock: quanta::Clock,
    from: Reading,
    rate: u64,
    agrees: AtomicBool,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    steps: u64,
    nanos: u64,
}

impl System {
    pub(crate) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            counter: OnceLock::new(),
            ahead: AtomicU64::new(0),
        }
    }

    /// Nanoseconds since this was made.
    pub(crate) fn now(&self) -> u64 {
        match self.counter.get() {
            Some(counter) if counter.agrees.load(Ordering::Acquire) => counter.now(),
            Some(_) => self
                .slow()
                .saturating_add(self.ahead.load(Ordering::Relaxed)),
            None => self.slow(),
        }
    }

    /// Uses the clock from now on; says whether it did not already. Where the counter ran on while the clock stood, as in
    /// a sleep, what was measured meanwhile lies ahead of the clock: time must not go back behind it.
    fn leave(&self, counter: &Counter) -> bool {
        let ahead = counter.now().saturating_sub(self.slow());
        if ahead > MEANWHILE {
            self.ahead.store(ahead + MEANWHILE, Ordering::Relaxed);
        }
        counter.agrees.swap(false, Ordering::Release)
    }

    fn slow(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }

    fn read(&self, clock: &quanta::Clock) -> Option<Reading> {
        (0..TRIES).find_map(|_| {
            let before = self.slow();
            let steps = clock.raw();
            let took = self.slow().saturating_sub(before);
            let nanos = before + took / 2;
            (took <= AT_ONCE).then_some(Reading { steps, nanos })
        })
    }
}

impl Counter {
    fn now(&self) -> u64 {
        let steps = self.clock.raw().saturating_sub(self.from.steps);
        self.from.nanos.saturating_add(scaled(steps, self.rate))
    }
}

/// Holds the counter against the system's clock. Made and asked by the watchdog's thread alone.
pub(crate) struct Comparison {
    clock: quanta::Clock,
    rates: Rates,
}

impl Comparison {
    /// None where the system does not use the counter itself.
    pub(crate) fn new() -> Option<Self> {
        let source = std::fs::read_to_string(CLOCK_SOURCE).ok()?;
        COUNTERS.contains(&source.trim()).then(|| Self {
            clock: quanta::Clock::new(),
            rates: Rates::default(),
        })
    }

    /// Has the counter used once it is known, and no more once it went wrong.
    pub(crate) fn look(&mut self, system: &System) {
        let Some(reading) = system.read(&self.clock) else {
            return;
        };
        let verdict = self.rates.judge(reading);
        match (verdict, system.counter.get()) {
            (Verdict::Steady(rate), None) => {
                let _ = system.counter.set(Counter {
                    clock: self.clock.clone(),
                    from: reading,
                    rate,
                    agrees: AtomicBool::new(true),
                });
            }
            (Verdict::Wrong, Some(counter))
                if counter.agrees.load(Ordering::Relaxed) && system.leave(counter) =>
            {
                tracing::info!(
                    target: "bilten_monitor",
                    "the processor's counter does not run as the system's clock: the clock is used from now on",
                );
            }
            _ => {}
        }
    }
}

/// How fast the counter ran from look to look.
#[derive(Debug, Default)]
struct Rates {
    last: Option<Reading>,
    rate: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Not known, or known already.
    Open,
    /// Twice the same: nanoseconds for each step.
    Steady(u64),
    /// Not as before.
    Wrong,
}

impl Rates {
    fn judge(&mut self, reading: Reading) -> Verdict {
        let Some(last) = self.last else {
            self.last = Some(reading);
            return Verdict::Open;
        };
        let passed = reading.nanos.saturating_sub(last.nanos);
        if passed < SHORTEST {
            return Verdict::Open;
        }
        self.last = Some(reading);
        let Some(rate) = rate(passed, reading.steps.saturating_sub(last.steps)) else {
            return Verdict::Wrong;
        };
        match self.rate.replace(rate) {
            None => Verdict::Open,
            Some(before) if before.abs_diff(rate) <= before / TOLERANCE => Verdict::Steady(rate),
            Some(_) => Verdict::Wrong,
        }
    }
}

fn rate(nanos: u64, steps: u64) -> Option<u64> {
    let rate = (u128::from(nanos) << RATE_BITS).checked_div(u128::from(steps))?;
    u64::try_from(rate).ok().filter(|rate| *rate > 0)
}

fn scaled(steps: u64, rate: u64) -> u64 {
    let nanos = (u128::from(steps) * u128::from(rate)) >> RATE_BITS;
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// What is said of a counter that stands at these steps after each second.
    fn verdicts(steps: &[u64]) -> Vec<Verdict> {
        let mut rates = Rates::default();
        let judge = |(second, steps): (u64, &u64)| {
            rates.judge(Reading {
                steps: *steps,
                nanos: second * SECOND,
            })
        };
        (0..).zip(steps).map(judge).collect()
    }

    #[test]
    fn a_counter_is_steady_once_two_seconds_were_alike() {
        let half = 1 << (RATE_BITS - 1);
        let verdicts = verdicts(&[7, 7 + 2 * SECOND, 7 + 4 * SECOND]);
        assert_eq!(
            verdicts,
            [Verdict::Open, Verdict::Open, Verdict::Steady(half)]
        );
        assert_eq!(scaled(10 * SECOND, half), 5 * SECOND);
        assert_eq!(scaled(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_counter_that_jumps_stops_or_goes_back_is_wrong() {
        for third in [4 * SECOND + SECOND / 100, 2 * SECOND, 0] {
            let said = verdicts(&[0, 2 * SECOND, third]);
            assert_eq!(said.last(), Some(&Verdict::Wrong), "{third}");
        }
        let drifts = verdicts(&[0, 2 * SECOND, 4 * SECOND + SECOND / 1000]);
        assert!(
            matches!(drifts[2], Verdict::Steady(_)),
            "the system's clock is set right"
        );
    }

    #[test]
    fn looks_that_are_close_together_say_nothing() {
        let mut rates = Rates::default();
        let said = (0..100).map(|ms| {
            let nanos = ms * 1_000_000;
            rates.judge(Reading {
                steps: ms * ms,
                nanos,
            })
        });
        assert!(said.into_iter().all(|verdict| verdict == Verdict::Open));
    }

    #[test]
    fn a_counter_in_use_that_goes_wrong_is_left_for_the_systems_clock() {
        let (clock, counter) = quanta::Clock::mock();
        let system = System::new();
        let read = |_| system.read(&clock);
        let from = (0..).find_map(read).expect("at once, sooner or later");
        let mut comparison = Comparison {
            clock: clock.clone(),
            rates: Rates {
                last: Some(Reading { steps: 0, nanos: 0 }),
                rate: Some(1 << RATE_BITS),
            },
        };
        let (rate, agrees) = (1 << RATE_BITS, AtomicBool::new(true));
        let counted = Counter {
            clock,
            from,
            rate,
            agrees,
        };
        system.counter.set(counted).expect("none yet");
        counter.increment(3600 * SECOND);
        assert!(system.now() >= 3600 * SECOND, "it is read");
        while system.slow() < SHORTEST {
            std::thread::yield_now();
        }
        let before = system.now();
        let left = system.counter.get().expect("there is one");
        // A look into which something comes says nothing.
        while left.agrees.load(Ordering::Relaxed) {
            comparison.look(&system);
        }
        let after = system.now();
        assert!(after >= before, "time never goes back");
        counter.increment(3600 * SECOND);
        assert!(system.now() < after + 3600 * SECOND, "it is read no more");
    }

    #[test]
    fn the_fast_clock_and_the_systems_tell_the_same_time_on_every_thread() {
        let system = System::new();
        let mut comparison = Comparison::new();
        while system.slow() < 3 * SHORTEST {
            if let Some(comparison) = &mut comparison {
                comparison.look(&system);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let read = || {
            for _ in 0..10_000 {
                let (before, now) = (system.slow(), system.now());
                let after = system.slow();
                // What the counter's rate may be wrong by, however long ago that was measured.
                let off = 1_000_000 + after / TOLERANCE;
                let near = before.saturating_sub(off)..after + off;
                assert!(near.contains(&now), "{near:?} {now}");
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(read))));
    }
}
