//! The error budget of requests, watched in the process.
//!
//! Multi-window, multi-burn-rate alerting: <https://sre.google/workbook/alerting-on-slos/>, chapter 5.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::alert::{AlertKind, Desk, Gate, Incident};
use crate::outcome::Outcome;

const MINUTE_NANOS: u64 = 60_000_000_000;
/// As many as the longest window.
const MINUTES: usize = 360;
/// Fewer failures than this are an accident and no trend.
const FEWEST: u64 = 10;

/// How many times too fast, over how many minutes, both the long and the short run.
const TIERS: [(f64, usize, usize); 2] = [(14.4, 60, 5), (6.0, 360, 30)];

/// Counts by the minute, and the limit on alerts.
#[derive(Debug)]
pub(crate) struct Budget {
    /// The share of requests that may fail.
    allowed: f64,
    ended: AtomicU64,
    failed: AtomicU64,
    seen: Mutex<Minutes>,
    gate: Gate,
}

impl Budget {
    pub(crate) fn new(objective: f64) -> Self {
        Self {
            allowed: 1.0 - objective,
            ended: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            seen: Mutex::default(),
            gate: Gate::default(),
        }
    }

    /// A request has ended.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "the budget is that of requests")
    )]
    pub(crate) fn ended(&self, outcome: Outcome) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if matches!(outcome, Outcome::Error(_) | Outcome::Panicked) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds up what has ended, and raises an alert when the budget burns too fast.
    pub(crate) fn look(&self, desk: &Desk, now: u64) {
        let ended = self.ended.swap(0, Ordering::Relaxed);
        let failed = self.failed.swap(0, Ordering::Relaxed);
        let Some(burn) = self.note(now, ended, failed) else {
            desk.settle(&self.gate, now, AlertKind::BudgetBurns, SUBJECT);
            return;
        };
        let incident = Incident {
            kind: AlertKind::BudgetBurns,
            subject: SUBJECT,
            duration_nanos: 0,
            threshold_nanos: 0,
            outcome: Outcome::Success,
            trace: None,
        };
        let facts = || {
            vec![
                ("times too fast", format!("{:.1}", burn.factor)),
                ("minutes", burn.minutes.to_string()),
                ("failed", burn.failed.to_string()),
                ("requests", burn.requests.to_string()),
            ]
        };
        desk.remind(&self.gate, now, &incident, facts);
    }

    fn note(&self, now: u64, ended: u64, failed: u64) -> Option<Burn> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.add(now / MINUTE_NANOS, ended, failed);
        seen.burn(self.allowed)
    }
}

const SUBJECT: &str = "requests";

/// A budget that burns too fast.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Burn {
    factor: f64,
    minutes: usize,
    requests: u64,
    failed: u64,
}

/// Requests and failures of the last six hours.
#[derive(Debug)]
struct Minutes {
    newest: u64,
    counts: Box<[(u64, u64)]>,
}

impl Default for Minutes {
    fn default() -> Self {
        Self {
            newest: 0,
            counts: vec![(0, 0); MINUTES].into(),
        }
    }
}

impl Minutes {
    fn add(&mut self, minute: u64, ended: u64, failed: u64) {
        let gone = minute.saturating_sub(self.newest).min(MINUTES as u64);
        for step in 0..gone {
            *self.at(minute - step) = (0, 0);
        }
        self.newest = self.newest.max(minute);
        let newest = self.newest;
        let count = self.at(newest);
        *count = (count.0 + ended, count.1 + failed);
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of 360")]
    fn at(&mut self, minute: u64) -> &mut (u64, u64) {
        let place = (minute % MINUTES as u64) as usize;
        &mut self.counts[place]
    }

    /// The sums of this minute and those before it.
    fn last(&self, minutes: usize) -> (u64, u64) {
        let recent = (0..minutes as u64).filter_map(|back| self.newest.checked_sub(back));
        let length = MINUTES as u64;
        let counts = recent.filter_map(|minute| {
            let place = usize::try_from(minute % length).ok()?;
            self.counts.get(place)
        });
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }

    fn burn(&self, allowed: f64) -> Option<Burn> {
        let factor_of = |(ended, failed)| ratio(failed, ended) / allowed;
        TIERS.iter().find_map(|&(limit, long, short)| {
            let (requests, failed) = self.last(long);
            let factor = factor_of((requests, failed));
            let burns = failed >= FEWEST && factor > limit && factor_of(self.last(short)) > limit;
            burns.then_some(Burn {
                factor,
                minutes: long,
                requests,
                failed,
            })
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Monitor;

    /// The budget after each minute of `(requests, failures)`.
    fn after(minutes: &[(u64, u64)]) -> Option<Burn> {
        let mut seen = Minutes::default();
        let mut burn = None;
        for (minute, (ended, failed)) in (1000..).zip(minutes) {
            seen.add(minute, *ended, *failed);
            burn = seen.burn(0.001);
        }
        burn
    }

    #[test]
    fn two_of_a_hundred_for_an_hour_burn_twenty_times_too_fast() {
        let burn = after(&[(100, 2); 60]).expect("it burns");
        assert!((burn.factor - 20.0).abs() < 1e-9, "{burn:?}");
        assert_eq!((burn.minutes, burn.requests, burn.failed), (60, 6000, 120));
    }

    #[test]
    fn it_is_over_five_minutes_after_the_last_failure_and_old_failures_are_no_news() {
        let mut minutes = vec![(100, 2); 60];
        minutes.push((100, 0));
        assert!(
            after(&minutes).is_some(),
            "the short run still has one bad minute"
        );
        assert_eq!(after(&minutes).map(|burn| burn.minutes), Some(60));
        minutes.push((100, 0));
        let slower = after(&minutes).expect("28 minutes in 30 are too many");
        assert_eq!(slower.minutes, 360);
        minutes.extend([(100, 0); 25]);
        assert_eq!(after(&minutes), None);
    }

    #[test]
    fn a_slower_fire_is_seen_over_six_hours() {
        assert_eq!(after(&[(1000, 8); 360]).map(|burn| burn.minutes), Some(360));
        assert_eq!(after(&[(1000, 5); 360]), None);
    }

    #[test]
    fn a_few_failures_are_no_trend() {
        assert_eq!(after(&[(10, 9)]), None);
        assert!(after(&[(10, 10)]).is_some());
    }

    #[test]
    fn a_budget_that_burns_on_is_told_once_a_window_and_holds_no_alert_back() {
        const SECOND: u64 = 1_000_000_000;
        let builder = Monitor::builder().alert_window(Duration::from_secs(60));
        let monitor = builder.build().expect("a monitor");
        let budget = Budget::new(0.99);
        (0..100).for_each(|_| budget.ended(Outcome::Error("503")));
        let look = |second| budget.look(&monitor.inner().hub.desk, second * SECOND);
        (1000..1119).for_each(look);
        let told = monitor.alerts();
        let suppressed: Vec<_> = told.iter().map(|alert| alert.suppressed).collect();
        assert_eq!(suppressed, [0, 0]);
        assert_eq!(monitor.losses().alerts_suppressed, 0);
    }

    #[test]
    fn a_gap_of_a_day_forgets_everything() {
        let mut seen = Minutes::default();
        seen.add(10, 100, 100);
        seen.add(10 + 1440, 1, 0);
        assert_eq!(seen.last(360), (1, 0));
        // A clock that goes back does not reach into the past.
        seen.add(5, 1, 1);
        assert_eq!(seen.last(1), (2, 1));
    }
}
