//! One registered check: its settings, its last result, its run.

mod next;
mod outbox;
mod record;
mod ticker;

pub(crate) use next::{Next, Situation, next};
pub(crate) use outbox::Note;
pub(crate) use ticker::Ticker;

use crate::answer::Standing;
use crate::check::{DynCheck, Verdict};
use crate::group::Group;
use crate::history::{History, Thresholds};
use crate::measured::Measured;
use crate::report::{CheckReport, Reason};
use crate::said::{Facts, Said};
use crate::status::Status;
use outbox::Outbox;
use serde_json::Map;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;

/// A result of a check that is run on demand counts this much longer than its cache time where no run may be started.
const ON_DEMAND_STALENESS: Duration = Duration::from_secs(30);

pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    pub(crate) check: Arc<dyn DynCheck>,
    pub(crate) settings: Settings,
    pub(crate) alive: Arc<AtomicBool>,
    pub(crate) ticker: Mutex<Option<Ticker>>,
    pub(crate) measured: Measured,
    registered: Instant,
    state: Mutex<State>,
}

/// The check's options with the defaults of the whole set filled in.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) cache: Duration,
    pub(crate) critical: bool,
    pub(crate) readiness: bool,
    pub(crate) startup: bool,
    pub(crate) liveness: bool,
    pub(crate) peer: bool,
    pub(crate) tags: Arc<[&'static str]>,
    pub(crate) background: Option<Duration>,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) initial_delay: Duration,
    pub(crate) degraded_above: Option<Duration>,
    pub(crate) thresholds: Thresholds,
}

#[derive(Debug)]
pub(crate) struct State {
    last: Option<Stored>,
    last_success: Option<SystemTime>,
    succeeded: Option<Instant>,
    history: History,
    /// When the history took its last result.
    counted: Option<Instant>,
    /// What the metrics show; none before the first result, and once that was taken back.
    level: Option<Status>,
    outbox: Outbox,
    /// The run under way; the channel closes when it has stored its result or is gone.
    pub(crate) run: Option<watch::Receiver<()>>,
}

#[derive(Debug)]
struct Stored {
    verdict: Verdict,
    duration: Duration,
    finished: Instant,
    checked_at: SystemTime,
}

impl Slot {
    pub(crate) fn new(name: &str, check: Arc<dyn DynCheck>, settings: Settings) -> Self {
        Self {
            name: name.into(),
            check,
            settings,
            alive: Arc::default(),
            ticker: Mutex::new(None),
            measured: Measured::default(),
            registered: Instant::now(),
            state: Mutex::new(State {
                last: None,
                last_success: None,
                succeeded: None,
                history: History::new(),
                counted: None,
                level: None,
                outbox: Outbox::default(),
                run: None,
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody is looking at the state or changing it just now.
    #[cfg(test)]
    pub(crate) fn is_locked(&self) -> bool {
        self.state.try_lock().is_err()
    }

    /// Whether it belongs to a built-in group or carries the tag.
    pub(crate) fn is_in(&self, group: Group) -> bool {
        match group {
            Group::All => true,
            Group::Liveness => self.settings.liveness,
            Group::Readiness => self.settings.readiness,
            Group::Startup => self.settings.startup,
            Group::Tag(tag) => {
                let mut tags = self.settings.tags.iter();
                tags.any(|own| own.eq_ignore_ascii_case(tag))
            }
            Group::Named(_) => false,
        }
    }

    pub(crate) fn situation(&self, state: &State, now: Instant) -> Situation {
        Situation {
            age: state
                .last
                .as_ref()
                .map(|last| now.duration_since(last.finished)),
            cache: self.settings.cache,
            running: state.run.is_some(),
            alive: self.alive.load(Ordering::Acquire),
            background: self.settings.background.is_some(),
            delayed: now < self.delayed_until(),
        }
    }

    /// When the first run may begin.
    pub(crate) fn delayed_until(&self) -> Instant {
        self.registered + self.settings.initial_delay
    }

    /// Whether nothing has been heard of a background check for longer than a result may count.
    pub(crate) fn is_too_old(&self, now: Instant) -> bool {
        let state = self.state();
        let last = state.last.as_ref().map(|last| last.finished);
        now.saturating_duration_since(last.unwrap_or(self.delayed_until())) > self.max_age()
    }

    /// How the check stands at `now`, and until when that may be repeated.
    ///
    /// With `asked`, a result has to have counted at that moment or come later; without, the stored one is taken as it is.
    pub(crate) fn report(&self, now: Instant, asked: Option<Instant>) -> (Standing, Instant) {
        let state = self.state();
        let Some(last) = &state.last else {
            return (self.without_result(&state, now, asked), now);
        };
        let age = now.duration_since(last.finished);
        let on_demand = self.settings.background.is_none();
        let ran_out =
            |asked: Instant| last.finished < asked && asked - last.finished >= self.settings.cache;
        if on_demand && asked.is_some_and(ran_out) {
            return (self.overrun(&state, now), now);
        }
        let max_age = self.max_age();
        let mut report = self.blank(&state, state.history.reported());
        report.duration = last.duration;
        report.age = age;
        report.checked_at = Some(last.checked_at);
        report.reason = last.verdict.reason;
        let age = self.oldest_reason(&state, now).unwrap_or(age);
        if age > max_age {
            report.reason = Some(Reason::Stale);
            report.status = report.status.max(Status::Unknown);
            report.healthy = false;
            let error = record::too_old(age, max_age);
            let details = last.verdict.details.clone();
            return (Standing::new(report, Some(error), details), now);
        }
        let lifetime = if on_demand {
            self.settings.cache
        } else {
            max_age
        };
        let (error, details) = (last.verdict.error.clone(), last.verdict.details.clone());
        (
            Standing::new(report, error, details),
            now + lifetime.saturating_sub(age),
        )
    }

    /// How old the success is that a background check is up for, while thresholds spare the failures since; none where the last
    /// result is what counts.
    fn oldest_reason(&self, state: &State, now: Instant) -> Option<Duration> {
        let spares = self.settings.background.is_some() && state.history.reported().is_healthy();
        let succeeded = state.succeeded.filter(|_| spares)?;
        Some(now.duration_since(succeeded))
    }

    /// Whether it has ever been reported as up or degraded.
    pub(crate) fn has_been_up(&self) -> bool {
        self.state().history.has_been_up()
    }

    fn max_age(&self) -> Duration {
        match (self.settings.max_staleness, self.settings.background) {
            (Some(age), _) => age,
            (None, Some(interval)) => interval * 3,
            (None, None) => self.settings.cache + ON_DEMAND_STALENESS,
        }
    }

    fn without_result(&self, state: &State, now: Instant, asked: Option<Instant>) -> Standing {
        if asked.is_some() && state.run.is_some() {
            return self.overrun(state, now);
        }
        let mut report = self.blank(state, Status::Unknown);
        report.reason = Some(Reason::NotRun);
        Standing::new(report, None, Facts::default())
    }

    /// The run under way did not end before the answer had to be given: a failure, which counts as the run's own will that is
    /// given up in the same moment.
    fn overrun(&self, state: &State, now: Instant) -> Standing {
        let mut history = state.history;
        let status = history.record(Status::Down, self.settings.thresholds);
        let mut report = self.blank(state, status);
        report.consecutive_failures = history.failures();
        report.changes = history.changes();
        report.reason = Some(Reason::Timeout);
        if let Some(last) = &state.last {
            report.age = now.duration_since(last.finished);
            report.checked_at = Some(last.checked_at);
        }
        let error = Said::told("no answer within the deadline");
        Standing::new(report, Some(error), Facts::default())
    }

    fn blank(&self, state: &State, status: Status) -> CheckReport {
        CheckReport {
            name: Arc::clone(&self.name),
            healthy: status.is_healthy(),
            status,
            critical: self.settings.critical,
            duration: Duration::ZERO,
            age: Duration::ZERO,
            checked_at: None,
            last_success: state.last_success,
            consecutive_failures: state.history.failures(),
            changes: state.history.changes(),
            reason: None,
            error: None,
            details: Map::new(),
            tags: Arc::clone(&self.settings.tags),
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("name", &self.name)
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}
