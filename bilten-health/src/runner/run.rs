//! One run of one check: in a task of its own, watched by a second one.

use super::hub::Hub;
use super::ticking::keep_fading;
use crate::bystander::wake_another_thread;
use crate::caught::{Contained, Panic};
use crate::check::{Alive, CheckContext, Verdict};
use crate::report::Reason;
use crate::said::Window;
use crate::slot::{Next, Situation, Slot, next};
use crate::status::Status;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Runs the check if a question needs it: gives what to wait for, or nothing when there is nothing to wait for.
pub(super) fn run_for_a_question(
    hub: &Arc<Hub>,
    slot: &Arc<Slot>,
    now: Instant,
) -> Option<watch::Receiver<()>> {
    step(hub, slot, |situation| situation, still_running, now)
}

/// `view` may change what is decided on, `overdue` is the answer when no run can be started.
fn step(
    hub: &Arc<Hub>,
    slot: &Arc<Slot>,
    view: impl FnOnce(Situation) -> Situation,
    overdue: impl FnOnce() -> Verdict,
    now: Instant,
) -> Option<watch::Receiver<()>> {
    let mut state = slot.state();
    let alive = match next(view(slot.situation(&state, now))) {
        Next::Use => return None,
        Next::Join => return state.run.clone(),
        // Begun under the slot's lock: of two callers, only one can get here.
        Next::Start => Alive::begin(&slot.alive),
        Next::Overdue => None,
    };
    let Some(alive) = alive else {
        // Still under the lock: the earlier run may end at any time, and this must not come after the result of the next.
        slot.record_overdue(&mut state, overdue());
        drop(state);
        hub.publish(slot);
        keep_fading(hub, slot);
        return None;
    };
    let (done, waiting) = watch::channel(());
    state.run = Some(waiting.clone());
    drop(state);
    let running = Running {
        slot: Arc::clone(slot),
        own: waiting.clone(),
        _done: done,
    };
    tokio::spawn(supervise(Arc::clone(hub), running, alive));
    Some(waiting)
}

fn still_running() -> Verdict {
    let why = "an earlier run has not ended; no new one is started before it does";
    Verdict::told(Status::Down, why).reason(Reason::StillRunning)
}

/// Owns the run: wakes all waiters when it ends, and clears it when the runtime ends before it could store a result.
struct Running {
    slot: Arc<Slot>,
    own: watch::Receiver<()>,
    _done: watch::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.slot.state();
        // Storing a result has cleared it already, and by now the entry may be the next run's.
        if state
            .run
            .as_ref()
            .is_some_and(|run| run.same_channel(&self.own))
        {
            state.run = None;
        }
    }
}

/// Waits for the check as long as its timeout allows, stores what came of it, and does not wait for a check that hangs.
async fn supervise(hub: Arc<Hub>, running: Running, alive: Alive) {
    let slot = &running.slot;
    let limit = slot.settings.timeout;
    let check = Arc::clone(&slot.check);
    let context = CheckContext::new(limit, alive);
    let started = Instant::now();
    // The closure is called inside the task as well: it may panic before there is a future.
    let mut task = Abort(tokio::spawn(Contained::new(async move {
        let verdict = check.check(&context).await;
        // Its own end counts: whoever waits for it may be woken late.
        (verdict, Instant::now())
    })));
    wake_another_thread();
    let answer = timeout(limit, &mut task.0).await;
    let ended = match &answer {
        Ok(Ok(Ok((_, ended)))) => *ended,
        _ => Instant::now(),
    };
    let took = ended.duration_since(started);
    let verdict = match answer {
        Ok(Ok(Err(panic))) => panicked(&panic),
        Ok(Err(_)) => Verdict::unknown("the runtime stopped before the check had ended"),
        // Where all threads were blocked, the answer is there before anybody looks at the time.
        Ok(Ok(Ok((verdict, _)))) if took <= limit => verdict,
        Ok(Ok(Ok(_))) | Err(_) => too_late(limit),
    };
    hub.store(slot, verdict, took);
    keep_fading(&hub, slot);
}

fn too_late(limit: Duration) -> Verdict {
    let why = format!("no answer within {limit:?}");
    Verdict::told(Status::Down, why).reason(Reason::Timeout)
}

/// Aborts the check when it is given up; does not wait for it to stop.
struct Abort(JoinHandle<Result<(Verdict, Instant), Panic>>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(panic: &Panic) -> Verdict {
    let text = Window::of(&format_args!("panicked: {}", panic.message()));
    Verdict::down(text.as_str()).reason(Reason::Panicked)
}

/// A run that no question asks for.
pub(super) fn tick_once(hub: &Arc<Hub>, slot: &Arc<Slot>) {
    let unasked = |situation| Situation {
        age: None,
        background: false,
        ..situation
    };
    step(hub, slot, unasked, still_running, Instant::now());
}

#[cfg(test)]
mod tests {
    use super::{run_for_a_question, step};
    use crate::change::Listeners;
    use crate::check::{Alive, Verdict, check};
    use crate::group::Group;
    use crate::health::{Defaults, Health};
    use crate::registry::Registry;
    use crate::report::Reason;
    use crate::runner::hub::Hub;
    use crate::slot::Slot;
    use crate::status::Status;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;
    use tokio::time::Instant;

    fn hub() -> Arc<Hub> {
        let registry = Registry::new(Vec::new(), Vec::new());
        Arc::new(Hub::new(Listeners::new(Vec::new()), Arc::new(registry)))
    }

    fn slot() -> Arc<Slot> {
        let defaults = Defaults {
            timeout: Duration::from_secs(50),
            cache: Duration::ZERO,
            deadline: Duration::from_secs(60),
        };
        Arc::new(defaults.slot(check("a", || async {})).unwrap())
    }

    /// Asks for a result and waits for it, on a runtime of its own.
    fn ask(hub: &Arc<Hub>, slot: &Arc<Slot>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            if let Some(mut run) = run_for_a_question(hub, slot, Instant::now()) {
                let _ = run.changed().await;
            }
        });
    }

    // One poll each and nothing masked: that is all a run costs before the answer, so no timer can overtake it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_failures_at_once_are_answered_before_any_is_masked() {
        let failing = |i| {
            let text = || std::future::ready(Err::<(), _>("password=Hunter2xQ9 ".repeat(50)));
            check(format!("c{i}"), text)
        };
        let builder = Health::builder()
            .deadline(Duration::from_secs(60))
            .default_timeout(Duration::from_secs(50));
        let builder = (0..1000).fold(builder, |builder, i| builder.check(failing(i)));
        let health = builder.build().unwrap();
        let answer = health.runner.answer(Group::All.into()).await;
        assert_eq!(answer.public.status, Status::Down);
        for standing in &answer.standings {
            assert_eq!(standing.report.reason, Some(Reason::Failed));
            assert!(!standing.is_masked());
        }
        let report = answer
            .report(Instant::now() + Duration::from_secs(60))
            .await;
        assert!(!report.to_json().contains("Hunter2xQ9"));
        assert!(answer.standings.iter().all(|standing| standing.is_masked()));
        // What is said again is masked already.
        let late = answer.report_at_once(Instant::now());
        assert!(Arc::ptr_eq(&report, &late));
    }

    // The order: a question finds that an earlier run has not ended. Before its answer is stored that run ends, and a second
    // question goes as far as it can: to the end of the next run, if nothing stops it.
    #[test]
    fn an_overdue_answer_never_replaces_the_result_of_the_next_run() {
        let (hub, slot) = (hub(), slot());
        let earlier = Alive::begin(&slot.alive).unwrap();
        thread::scope(|scope| {
            let overdue = || {
                drop(earlier);
                let may_overtake = !slot.is_locked();
                let second = scope.spawn(|| ask(&hub, &slot));
                if may_overtake {
                    second.join().unwrap();
                }
                Verdict::down("late")
            };
            let waits = step(&hub, &slot, |situation| situation, overdue, Instant::now());
            assert!(waits.is_none());
        });
        let report = slot.report(Instant::now(), None).0.report;
        assert_eq!(
            (report.status, report.changes),
            (Status::Up, 2),
            "{report:?}"
        );
    }
}
