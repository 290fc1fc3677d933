//! One registered check: its settings, its last result, its run.

mod next;
mod outbox;

pub(crate) use next::{Next, Situation, next};
pub(crate) use outbox::Note;

use crate::change::Change;
use crate::check::{DynCheck, Verdict};
use crate::group::Group;
use crate::history::{History, Thresholds};
use crate::report::{CheckReport, Reason};
use crate::status::Status;
use outbox::Outbox;
use serde_json::Map;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A result of a check that is run on demand counts this much longer than its cache time where no run may be started.
const ON_DEMAND_STALENESS: Duration = Duration::from_secs(30);

pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    pub(crate) check: Arc<dyn DynCheck>,
    pub(crate) settings: Settings,
    pub(crate) alive: Arc<AtomicBool>,
    pub(crate) ticker: Mutex<Option<JoinHandle<()>>>,
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
    history: History,
    /// When the history took its last result.
    counted: Option<Instant>,
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
            registered: Instant::now(),
            state: Mutex::new(State {
                last: None,
                last_success: None,
                history: History::new(),
                counted: None,
                outbox: Outbox::default(),
                run: None,
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it belongs to a built-in group or carries the tag.
    pub(crate) fn is_in(&self, group: Group) -> bool {
        match group {
            Group::All => true,
            Group::Liveness => self.settings.liveness,
            Group::Readiness => self.settings.readiness,
            Group::Startup => self.settings.startup,
            Group::Tag(tag) => self.settings.tags.contains(&tag),
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
            delayed: now < self.registered + self.settings.initial_delay,
        }
    }

    /// Stores the result of the run under way.
    pub(crate) fn record(&self, mut verdict: Verdict, duration: Duration) {
        if let Some(limit) = self.settings.degraded_above
            && verdict.status == Status::Up
            && duration > limit
        {
            let details = std::mem::take(&mut verdict.details);
            verdict = Verdict {
                details,
                ..Verdict::degraded(format!("took {duration:?}, more than {limit:?}"))
            };
        }
        let mut state = self.state();
        // Together with the result: nobody may join a run whose result is already older than the question.
        state.run = None;
        self.count(&mut state, &verdict, Some(duration));
        state.keep(verdict, duration);
    }

    /// Takes `verdict` as the answer to a question for which no run could be started, under the lock under which that was found.
    ///
    /// However many questions come, it counts as a failure only as often as runs would that time out one after the other.
    pub(crate) fn record_overdue(&self, state: &mut State, verdict: Verdict) {
        let now = Instant::now();
        let is_due = state.history.failures() == 0
            || state
                .counted
                .is_none_or(|at| now.duration_since(at) >= self.settings.timeout);
        if is_due {
            self.count(state, &verdict, None);
        } else if self.settings.background.is_some() {
            // No question waits for it, and the last result must not look younger than it is.
            return;
        }
        state.keep(verdict, Duration::ZERO);
    }

    fn count(&self, state: &mut State, verdict: &Verdict, duration: Option<Duration>) {
        let from = state.history.reported();
        let to = state
            .history
            .record(verdict.status, self.settings.thresholds);
        let healthy = verdict.status.is_healthy();
        if healthy {
            state.last_success = Some(SystemTime::now());
        }
        state.counted = Some(Instant::now());
        let change = (from != to).then(|| self.change(state, from, to, verdict.error.clone()));
        state.outbox.push(Note {
            healthy,
            duration,
            change,
        });
    }

    fn change(&self, state: &State, from: Status, to: Status, error: Option<Arc<str>>) -> Change {
        Change {
            check: Arc::clone(&self.name),
            from,
            to,
            at: SystemTime::now(),
            error,
            changes: state.history.changes(),
        }
    }

    /// How the check stands at `now`, and until when that may be repeated.
    ///
    /// With `asked`, a result has to have counted at that moment or come later; without, the stored one is taken as it is.
    pub(crate) fn report(&self, now: Instant, asked: Option<Instant>) -> (CheckReport, Instant) {
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
        report.details = last.verdict.details.clone();
        report.reason = last.verdict.reason;
        report.error.clone_from(&last.verdict.error);
        if age > max_age {
            report.reason = Some(Reason::Stale);
            report.error =
                Some(format!("the last result is {age:?} old, more than {max_age:?}").into());
            report.status = report.status.max(Status::Unknown);
            report.healthy = false;
            return (report, now);
        }
        let lifetime = if on_demand {
            self.settings.cache
        } else {
            max_age
        };
        (report, last.finished + lifetime)
    }

    fn max_age(&self) -> Duration {
        match (self.settings.max_staleness, self.settings.background) {
            (Some(age), _) => age,
            (None, Some(interval)) => interval * 3,
            (None, None) => self.settings.cache + ON_DEMAND_STALENESS,
        }
    }

    fn without_result(&self, state: &State, now: Instant, asked: Option<Instant>) -> CheckReport {
        if asked.is_some() && state.run.is_some() {
            return self.overrun(state, now);
        }
        let mut report = self.blank(state, Status::Unknown);
        report.reason = Some(Reason::NotRun);
        report
    }

    /// The run under way did not end before the answer had to be given.
    fn overrun(&self, state: &State, now: Instant) -> CheckReport {
        let mut report = self.blank(state, Status::Down);
        report.reason = Some(Reason::Timeout);
        report.error = Some("no answer within the deadline".into());
        if let Some(last) = &state.last {
            report.age = now.duration_since(last.finished);
            report.checked_at = Some(last.checked_at);
        }
        report
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

impl State {
    fn keep(&mut self, verdict: Verdict, duration: Duration) {
        self.last = Some(Stored {
            verdict,
            duration,
            finished: Instant::now(),
            checked_at: SystemTime::now(),
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let ticker = self
            .ticker
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(ticker) = ticker.take() {
            ticker.abort();
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

#[cfg(test)]
mod tests {
    use super::{Settings, Slot};
    use crate::check::{Verdict, check};
    use crate::history::Thresholds;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::time::Instant;

    fn slot(background: Option<Duration>) -> Slot {
        let settings = Settings {
            timeout: Duration::from_millis(500),
            cache: Duration::ZERO,
            critical: true,
            readiness: false,
            startup: false,
            liveness: false,
            tags: [].into(),
            background,
            max_staleness: None,
            initial_delay: Duration::ZERO,
            degraded_above: None,
            thresholds: Thresholds {
                failure: 3,
                success: 1,
            },
        };
        Slot::new("a", check("a", || async {}).check, settings)
    }

    #[test]
    fn an_overdue_answer_leaves_the_run_alone() {
        let slot = slot(None);
        let mut state = slot.state();
        let (_done, run) = watch::channel(());
        state.run = Some(run);
        slot.record_overdue(&mut state, Verdict::down("late"));
        assert!(state.run.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_overdue_run_does_not_refresh_a_background_result() {
        let slot = slot(Some(Duration::from_millis(10)));
        slot.record(Verdict::up(), Duration::ZERO);
        slot.record_overdue(&mut slot.state(), Verdict::down("late"));
        tokio::time::advance(Duration::from_millis(31)).await;
        slot.record_overdue(&mut slot.state(), Verdict::down("later"));
        let (report, _) = slot.report(Instant::now(), None);
        assert!(!report.healthy, "{report:?}");
    }
}
