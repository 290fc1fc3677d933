//! What a result changes, and what its age does.

use super::{Note, Slot, State, Stored};
use crate::change::Changed;
use crate::check::Verdict;
use crate::said::Said;
use crate::status::Status;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

impl Slot {
    /// Stores the result of the run under way.
    pub(crate) fn record(&self, mut verdict: Verdict, duration: Duration) {
        if let Some(limit) = self.settings.degraded_above
            && verdict.status == Status::Up
            && duration > limit
        {
            let details = std::mem::take(&mut verdict.details);
            verdict = Verdict {
                details,
                ..Verdict::told(
                    Status::Degraded,
                    format!("took {duration:?}, more than {limit:?}"),
                )
            };
        }
        let mut state = self.state();
        // Together with the result: nobody may join a run whose result is already older than the question.
        state.run = None;
        state.reuse_what_is_masked(&mut verdict);
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
            state.succeeded = Some(Instant::now());
        }
        state.counted = Some(Instant::now());
        let change = (from != to).then(|| self.change(state, from, to, verdict.error.clone()));
        state.level = Some(verdict.status);
        state.outbox.push(Note {
            found: Some(verdict.status),
            duration,
            change,
        });
    }

    fn change(&self, state: &State, from: Status, to: Status, error: Option<Said>) -> Changed {
        Changed {
            check: Arc::clone(&self.name),
            from,
            to,
            at: SystemTime::now(),
            error,
            changes: state.history.changes(),
        }
    }

    /// The check was removed: what its last run finds is of no interest any more.
    pub(crate) fn retire(&self) {
        let mut state = self.state();
        state.take_level_back();
        state.outbox.close();
    }

    /// When the result of a background check becomes too old, if it then is another status.
    pub(crate) fn goes_stale(&self) -> Option<Instant> {
        self.stale_at(&self.state())
    }

    /// Takes note that the last result has become too old by now; says whether it has.
    pub(crate) fn expire(&self, now: Instant) -> bool {
        let mut state = self.state();
        let Some(last) = Self::counts_from(&state) else {
            return false;
        };
        if self.stale_at(&state).is_none_or(|at| now < at) {
            return false;
        }
        let from = state.history.reported();
        let to = state.history.expire();
        let error = too_old(now.duration_since(last), self.max_age());
        let change = self.change(&state, from, to, Some(error));
        state.level = Some(Status::Unknown);
        state.outbox.push(Note {
            found: Some(Status::Unknown),
            duration: None,
            change: Some(change),
        });
        true
    }

    /// When the level of a check that is run on demand is to be taken back, if it has one: nobody asks for it then.
    pub(crate) fn fades_at(&self) -> Option<Instant> {
        self.fading(&self.state())
    }

    /// Takes the level back if it is time; says whether it was. Its status stays: the next question gives another one, or the same.
    pub(crate) fn fade(&self, now: Instant) -> bool {
        let mut state = self.state();
        let is_time = self.fading(&state).is_some_and(|at| at <= now);
        if is_time {
            state.take_level_back();
        }
        is_time
    }

    fn fading(&self, state: &State) -> Option<Instant> {
        let on_demand = self.settings.background.is_none() && state.level.is_some();
        let last = state.last.as_ref().filter(|_| on_demand)?;
        Some(last.finished + self.max_age() + Duration::from_millis(1))
    }

    /// Has the level told once more, if there is one.
    pub(crate) fn tell_again(&self) -> bool {
        let mut state = self.state();
        let level = state.level;
        if level.is_some() {
            state.outbox.push(Note {
                found: level,
                duration: None,
                change: None,
            });
        }
        level.is_some()
    }

    /// From when the status of a background check is: its last success while it is up, else its last result.
    fn counts_from(state: &State) -> Option<Instant> {
        let last = state.last.as_ref().map(|last| last.finished);
        state
            .succeeded
            .filter(|_| state.history.reported().is_healthy())
            .or(last)
    }

    fn stale_at(&self, state: &State) -> Option<Instant> {
        // A timer knows milliseconds: the first one that is later for certain.
        let at = Self::counts_from(state)? + self.max_age() + Duration::from_millis(1);
        state.history.reported().is_healthy().then_some(at)
    }
}

pub(super) fn too_old(age: Duration, max_age: Duration) -> Said {
    Said::told(format!(
        "the last result is {age:?} old, more than {max_age:?}"
    ))
}

impl State {
    /// What was never measured has no level to take back.
    fn take_level_back(&mut self) {
        if self.level.take().is_some() {
            self.outbox.push(Note {
                found: None,
                duration: None,
                change: None,
            });
        }
    }

    /// The same text as last time is masked already, or will be once for both.
    fn reuse_what_is_masked(&self, verdict: &mut Verdict) {
        let Some(last) = &self.last else {
            return;
        };
        if verdict.error == last.verdict.error {
            verdict.error.clone_from(&last.verdict.error);
        }
        if verdict.details == last.verdict.details {
            verdict.details = last.verdict.details.clone();
        }
    }

    fn keep(&mut self, verdict: Verdict, duration: Duration) {
        self.last = Some(Stored {
            verdict,
            duration,
            finished: Instant::now(),
            checked_at: SystemTime::now(),
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{Verdict, check};
    use crate::history::Thresholds;
    use crate::slot::{Settings, Slot};
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
            peer: false,
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
        let report = slot.report(Instant::now(), None).0.report;
        assert!(!report.healthy, "{report:?}");
    }
}
