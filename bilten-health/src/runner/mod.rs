//! Asks the checks of a group and answers in time, whatever they do.

mod board;
mod hub;
mod run;
mod ticking;

use crate::aggregate::{Aggregate, Part};
use crate::answer::{Answer, Standing};
use crate::caught::caught;
use crate::change::Listeners;
use crate::group::{Group, Question};
use crate::life::{Life, Phase, overlay};
use crate::registry::Registry;
use crate::report::Report;
use crate::slot::Slot;
use crate::status::Status;
use hub::Hub;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A report of nothing that can run out is put together again after this long, for its timestamp.
const REPEAT_AT_MOST: Duration = Duration::from_secs(1);

pub(crate) struct Runner {
    pub(crate) registry: Arc<Registry>,
    pub(crate) life: Life,
    hub: Arc<Hub>,
    deadline: Duration,
    aggregator: Arc<dyn Aggregate>,
}

impl Runner {
    pub(crate) fn new(
        registry: Registry,
        life: Life,
        deadline: Duration,
        aggregator: Arc<dyn Aggregate>,
        listeners: Listeners,
    ) -> Self {
        let registry = Arc::new(registry);
        Self {
            hub: Arc::new(Hub::new(listeners, Arc::clone(&registry))),
            registry,
            life,
            deadline,
            aggregator,
        }
    }

    /// After how long a group is answered.
    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The answer: repeated while it counts, else from runs that are started or joined, within the deadline.
    pub(crate) async fn answer(&self, question: Question) -> Arc<Answer> {
        let (asked, group) = (Instant::now(), question.group);
        if let Some(kept) = self.hub.board.get(question, asked) {
            return kept;
        }
        if !self.is_decided(group) {
            let slots = self.members(question);
            let runs: Vec<_> = slots
                .iter()
                .filter_map(|slot| ticking::ensure(&self.hub, slot, asked))
                .collect();
            if !runs.is_empty() {
                self.wait(group, runs, asked + self.deadline).await;
                // Of a thousand callers that waited for the same runs, the first has put the report together.
                if let Some(kept) = self.hub.board.get(question, Instant::now()) {
                    return kept;
                }
            }
            if !self.is_decided(group) {
                return self.assemble(question, Some(asked));
            }
        }
        self.assemble(question, None)
    }

    /// The answer from what is stored: runs nothing, waits for nothing.
    pub(crate) fn stored(&self, question: Question) -> Arc<Answer> {
        self.hub
            .board
            .get(question, Instant::now())
            .unwrap_or_else(|| self.assemble(question, None))
    }

    /// What replaces a report that was made before the shutdown had begun, and is given only now.
    pub(crate) fn unless_shut_down(
        &self,
        question: Question,
        report: &Report,
    ) -> Option<Arc<Answer>> {
        let ends = question.group.ends_with_shutdown() && self.life.phase().shutting_down;
        (ends && report.status != Status::ShuttingDown).then(|| self.stored(question))
    }

    pub(crate) fn mark_started(&self) {
        if self.life.mark_started() {
            self.hub.board.raise();
        }
    }

    pub(crate) fn begin_shutdown(&self) {
        if self.life.begin_shutdown() {
            self.hub.board.raise();
        }
    }

    /// Starts the check's ticker if it is to have one. Within a Tokio runtime only.
    pub(crate) fn keep_ticking(&self, slot: &Arc<Slot>) {
        ticking::keep_ticking(&self.hub, slot);
    }

    /// Wakes whenever anything changes that a report is made from.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.hub.board.subscribe()
    }

    /// A check was added.
    pub(crate) fn members_changed(&self) {
        self.hub.board.raise();
    }

    /// The check was removed.
    pub(crate) fn retire(&self, slot: &Slot) {
        slot.retire();
        self.hub.publish(slot);
    }

    /// Whether no check can change the answer any more.
    fn is_decided(&self, group: Group) -> bool {
        let phase = self.life.phase();
        (group.ends_with_shutdown() && phase.shutting_down)
            || (group == Group::Startup && phase.started)
    }

    fn members(&self, question: Question) -> Vec<Arc<Slot>> {
        let group = question.group;
        let also_startup = group == Group::Readiness && !self.life.phase().started;
        let mut members = self.registry.members(group);
        if also_startup {
            members = self
                .registry
                .select(|slot| slot.is_in(group) || slot.is_in(Group::Startup));
        }
        members.retain(|slot| !(question.own && slot.settings.peer));
        members
    }

    /// Waits for all runs, but neither beyond the deadline nor beyond the moment that decides the answer.
    async fn wait(&self, group: Group, runs: Vec<watch::Receiver<()>>, deadline: Instant) {
        let all_done = timeout_at(deadline, async {
            for mut run in runs {
                // Nothing is ever sent: the end of the run closes the channel.
                let _ = run.changed().await;
            }
        });
        tokio::select! {
            _ = all_done => {}
            () = self.life.shutdown_begun(), if group.ends_with_shutdown() => {}
        }
    }

    fn assemble(&self, question: Question, asked: Option<Instant>) -> Arc<Answer> {
        // The epoch first, the inputs after it: see `Board`.
        let epoch = self.hub.board.epoch();
        let slots = self.members(question);
        let now = Instant::now();
        let mut until = now + REPEAT_AT_MOST;
        let mut checks = Vec::with_capacity(slots.len());
        for slot in &slots {
            let (standing, valid) = slot.report(now, asked);
            until = until.min(valid);
            checks.push(standing);
        }
        let status = self.status(question, &slots, &checks);
        let public = Report {
            healthy: status.is_healthy(),
            status,
            timestamp: SystemTime::now(),
            duration: asked.map_or(Duration::ZERO, |asked| now.duration_since(asked)),
            checks: Vec::new(),
        };
        let answer = Arc::new(Answer::new(public, checks));
        self.hub.board.put(question, &answer, epoch, until);
        answer
    }

    fn status(&self, question: Question, slots: &[Arc<Slot>], checks: &[Standing]) -> Status {
        let group = question.group;
        let phase = self.phase(question, slots);
        let part = |check: &Standing| Part::new(check.report.status, check.report.critical);
        let parts: Vec<_> = checks.iter().map(part).collect();
        let may_lack_checks = matches!(group, Group::Named(_) | Group::Tag(_));
        let status = if parts.is_empty() && may_lack_checks && self.is_empty(group) {
            Status::Unknown
        } else {
            self.aggregate(&parts)
        };
        overlay(group, phase, status)
    }

    /// Whether the group has no check at all, not even one that asks another service.
    fn is_empty(&self, group: Group) -> bool {
        self.members(group.into()).is_empty()
    }

    /// Where the process is in its life, as these `slots` see it: the start-up checks among them may just have made it start.
    fn phase(&self, question: Question, slots: &[Arc<Slot>]) -> Phase {
        let phase = self.life.phase();
        let may_start = matches!(question.group, Group::Startup | Group::Readiness);
        if phase.started || !may_start || !self.life.is_automatic() {
            return phase;
        }
        let startup = slots.iter().filter(|slot| slot.settings.startup);
        let parts: Vec<_> = startup.map(|slot| started(slot)).collect();
        if !self.aggregate(&parts).is_healthy() {
            return phase;
        }
        if !question.own {
            self.mark_started();
            return self.life.phase();
        }
        // To another service it has started: two that wait for each other would wait for ever.
        Phase {
            started: true,
            ..phase
        }
    }

    /// The aggregator may be the user's and may panic.
    fn aggregate(&self, parts: &[Part]) -> Status {
        caught(|| self.aggregator.aggregate(parts)).unwrap_or_else(|| {
            tracing::error!("the health aggregator panicked; the answer is `unknown`");
            Status::Unknown
        })
    }
}

/// What a start-up check counts for: to have been up once is enough, and necessary for one that is not critical, too.
fn started(slot: &Slot) -> Part {
    if slot.has_been_up() {
        Part::new(Status::Up, slot.settings.critical)
    } else {
        Part::new(Status::Unknown, true)
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("registry", &self.registry)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}
