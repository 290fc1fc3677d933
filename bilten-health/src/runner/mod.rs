//! Asks the checks of a group and answers in time, whatever they do.

mod board;
mod hub;
#[cfg(feature = "metrics")]
mod measure;
#[cfg(not(feature = "metrics"))]
#[path = "no_measure.rs"]
mod measure;
mod run;

use crate::aggregate::{Aggregate, Part};
use crate::caught::caught;
use crate::change::Listeners;
use crate::group::Group;
use crate::life::{Life, overlay};
use crate::registry::Registry;
use crate::report::{CheckReport, Report};
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
    pub(crate) registry: Registry,
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
        Self {
            registry,
            life,
            hub: Arc::new(Hub::new(listeners)),
            deadline,
            aggregator,
        }
    }

    /// After how long a group is answered.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))]
    pub(crate) const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The group's report: repeated while it counts, else from runs that are started or joined, within the deadline.
    pub(crate) async fn report(&self, group: Group) -> Arc<Report> {
        let asked = Instant::now();
        if let Some(kept) = self.hub.board.get(group, asked) {
            return kept;
        }
        if !self.is_decided(group) {
            let slots = self.members(group);
            let runs: Vec<_> = slots
                .iter()
                .filter_map(|slot| run::ensure(&self.hub, slot, asked))
                .collect();
            if !runs.is_empty() {
                self.wait(group, runs, asked + self.deadline).await;
                // Of a thousand callers that waited for the same runs, the first has put the report together.
                if let Some(kept) = self.hub.board.get(group, Instant::now()) {
                    return kept;
                }
            }
            if !self.is_decided(group) {
                return self.assemble(group, Some(asked));
            }
        }
        self.assemble(group, None)
    }

    /// The group's report from what is stored: runs nothing, waits for nothing.
    pub(crate) fn stored(&self, group: Group) -> Arc<Report> {
        self.hub
            .board
            .get(group, Instant::now())
            .unwrap_or_else(|| self.assemble(group, None))
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
        run::keep_ticking(&self.hub, slot);
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

    fn members(&self, group: Group) -> Vec<Arc<Slot>> {
        let also_startup = group == Group::Readiness && !self.life.phase().started;
        let mut members = self.registry.members(group);
        if also_startup {
            members = self
                .registry
                .select(|slot| slot.is_in(group) || slot.is_in(Group::Startup));
        }
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

    fn assemble(&self, group: Group, asked: Option<Instant>) -> Arc<Report> {
        // The epoch first, the inputs after it: see `Board`.
        let epoch = self.hub.board.epoch();
        let slots = self.members(group);
        let now = Instant::now();
        let mut until = now + REPEAT_AT_MOST;
        let mut checks = Vec::with_capacity(slots.len());
        for slot in &slots {
            let (report, valid) = slot.report(now, asked);
            until = until.min(valid);
            checks.push(report);
        }
        let status = self.status(group, &slots, &checks);
        let report = Arc::new(Report {
            healthy: status.is_healthy(),
            status,
            timestamp: SystemTime::now(),
            duration: asked.map_or(Duration::ZERO, |asked| now.duration_since(asked)),
            checks,
        });
        self.hub.board.put(group, &report, epoch, until);
        report
    }

    fn status(&self, group: Group, slots: &[Arc<Slot>], checks: &[CheckReport]) -> Status {
        let part = |check: &CheckReport| Part::new(check.status, check.critical);
        let phase = self.life.phase();
        if !phase.started
            && self.life.is_automatic()
            && matches!(group, Group::Startup | Group::Readiness)
        {
            let startup = slots.iter().filter(|slot| slot.settings.startup);
            let parts: Vec<_> = startup.map(|slot| started(slot)).collect();
            if self.aggregate(&parts).is_healthy() {
                self.mark_started();
            }
        }
        let parts: Vec<_> = checks.iter().map(part).collect();
        let nobody = parts.is_empty() && matches!(group, Group::Named(_) | Group::Tag(_));
        let status = if nobody {
            Status::Unknown
        } else {
            self.aggregate(&parts)
        };
        overlay(group, self.life.phase(), status)
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
