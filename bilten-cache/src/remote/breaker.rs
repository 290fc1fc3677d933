use crate::clock::Nanos;
use std::fmt;

/// Failures in a row that open the breaker.
const OPENS_AFTER: u32 = 5;
const FIRST_PAUSE: Nanos = 250_000_000;
const LONGEST_PAUSE: Nanos = 4_000_000_000;

/// A circuit breaker: after five failures in a row it turns calls away for a quarter of a second,
/// then lets one through; each failed probe doubles the pause up to four seconds.
///
/// Pure, the time comes from outside. Our own rather than a crate: the ones there are take rolling
/// failure rates and call their clock themselves, and this is all that a cache needs.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    pause: Nanos,
    open_until: Option<Nanos>,
    probing_since: Option<Nanos>,
    /// When the first of the calls began that were given up since the store last answered one.
    unanswered_since: Option<Nanos>,
    /// Somebody else asks the store again and again, and tells when it answers: no call needs to find out.
    held: bool,
}

/// What the breaker is doing, for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerState {
    Closed,
    Open,
    HalfOpen,
}

impl Breaker {
    /// Whether a call may go ahead now.
    pub(crate) fn admits(&mut self, now: Nanos) -> bool {
        let Some(until) = self.open_until else {
            return true;
        };
        if self.held {
            return false;
        }
        // A probe whose end nobody reported (its future was dropped) must not block for ever.
        let probing = self
            .probing_since
            .is_some_and(|since| now < since.saturating_add(self.pause));
        if now < until || probing {
            return false;
        }
        self.probing_since = Some(now);
        true
    }

    /// A call that began then was given up by its caller before its budget was over. Whether the store, all calls together, has had a budget
    /// of time and answered none of them.
    pub(crate) fn given_up(&mut self, began: Nanos, now: Nanos, budget: Nanos) -> bool {
        let since = *self.unanswered_since.get_or_insert(began);
        now.saturating_sub(since) >= budget
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Opens it until [`succeeded`](Self::succeeded), without probes.
    pub(crate) fn hold(&mut self, now: Nanos) {
        self.held = true;
        self.open_until.get_or_insert(now);
    }

    pub(crate) fn failed(&mut self, now: Nanos) {
        self.failures = self.failures.saturating_add(1);
        if self.open_until.is_some() {
            // Calls that were under way when it opened fail late; only a probe lengthens the pause.
            if self.probing_since.take().is_none() {
                return;
            }
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else if self.failures >= OPENS_AFTER {
            self.pause = FIRST_PAUSE;
        } else {
            return;
        }
        self.open_until = Some(now.saturating_add(self.pause));
    }

    pub(crate) fn state(&self) -> BreakerState {
        match (self.open_until, self.probing_since) {
            (None, _) => BreakerState::Closed,
            (Some(_), None) => BreakerState::Open,
            (Some(_), Some(_)) => BreakerState::HalfOpen,
        }
    }
}

/// Told whether the breaker is open now.
pub(crate) struct OnBreaker(Box<dyn Fn(bool) + Send + Sync>);

impl OnBreaker {
    pub(crate) fn new(tell: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }

    pub(crate) fn tell(&self, open: bool) {
        (self.0)(open);
    }
}

impl fmt::Debug for OnBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnBreaker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_were_all_given_up_for_a_whole_budget_are_suspect() {
        let mut breaker = Breaker::default();
        assert!(!breaker.given_up(100, 120, 50));
        assert!(!breaker.given_up(130, 149, 50));
        assert!(breaker.given_up(140, 150, 50));
        breaker.succeeded();
        assert!(
            !breaker.given_up(160, 180, 50),
            "one was answered meanwhile"
        );
        assert!(breaker.given_up(200, 250, 50));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    fn opened_at(now: Nanos) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..OPENS_AFTER {
            assert!(breaker.admits(now));
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        for _ in 0..OPENS_AFTER - 1 {
            breaker.failed(0);
        }
        breaker.succeeded();
        breaker.failed(0);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(!opened_at(0).admits(FIRST_PAUSE - 1));
    }

    #[test]
    fn after_the_pause_exactly_one_probe_goes_through() {
        let mut breaker = opened_at(0);
        assert!(breaker.admits(FIRST_PAUSE));
        assert!(!breaker.admits(FIRST_PAUSE));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.admits(FIRST_PAUSE) && breaker.admits(FIRST_PAUSE));
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_up_to_its_limit() {
        let mut breaker = opened_at(0);
        let mut now = FIRST_PAUSE;
        let mut pause = FIRST_PAUSE;
        for _ in 0..10 {
            assert!(breaker.admits(now));
            breaker.failed(now);
            pause = (pause * 2).min(LONGEST_PAUSE);
            assert!(!breaker.admits(now + pause - 1));
            now += pause;
        }
        assert_eq!(pause, LONGEST_PAUSE);
    }

    #[test]
    fn late_failures_of_old_calls_do_not_lengthen_the_pause() {
        let mut breaker = opened_at(0);
        breaker.failed(10);
        assert!(breaker.admits(FIRST_PAUSE));
    }

    #[test]
    fn while_it_is_held_there_is_no_probe() {
        let mut breaker = Breaker::default();
        breaker.hold(0);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(!breaker.admits(LONGEST_PAUSE * 9));
        // A call that was under way.
        breaker.failed(10);
        assert!(!breaker.admits(LONGEST_PAUSE * 9));
        breaker.succeeded();
        assert!(breaker.admits(LONGEST_PAUSE * 9));
    }

    #[test]
    fn a_probe_that_was_dropped_gives_its_place_to_another() {
        let mut breaker = opened_at(0);
        assert!(breaker.admits(FIRST_PAUSE));
        assert!(breaker.admits(2 * FIRST_PAUSE));
    }
}
