//! Started, running, shutting down: and what that does to an answer.

use crate::group::Group;
use crate::status::Status;
use tokio::sync::watch;

/// Where the process is in its life. Both only ever go from false to true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) started: bool,
    pub(crate) shutting_down: bool,
}

#[derive(Debug)]
pub(crate) struct Life {
    phase: watch::Sender<Phase>,
    /// Whether the start-up checks decide alone; otherwise `mark_started` has to be called.
    automatic: bool,
}

impl Life {
    pub(crate) fn new(automatic: bool, started: bool) -> Self {
        Self {
            phase: watch::Sender::new(Phase {
                started,
                shutting_down: false,
            }),
            automatic,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) const fn is_automatic(&self) -> bool {
        self.automatic
    }

    /// Returns whether this call changed it.
    pub(crate) fn mark_started(&self) -> bool {
        self.phase
            .send_if_modified(|phase| !std::mem::replace(&mut phase.started, true))
    }

    /// Returns whether this call changed it.
    pub(crate) fn begin_shutdown(&self) -> bool {
        self.phase
            .send_if_modified(|phase| !std::mem::replace(&mut phase.shutting_down, true))
    }

    /// Waits until the shutdown has begun.
    pub(crate) async fn shutdown_begun(&self) {
        let mut phase = self.phase.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = phase.wait_for(|phase| phase.shutting_down).await;
    }
}

/// What the phase makes of the checks' status.
pub(crate) fn overlay(group: Group, phase: Phase, checks: Status) -> Status {
    match group {
        Group::Liveness => checks,
        Group::Startup if phase.started => Status::Up,
        Group::Startup => checks.max(Status::Unknown),
        _ if phase.shutting_down => Status::ShuttingDown,
        Group::Readiness if !phase.started => checks.max(Status::Unknown),
        Group::All | Group::Readiness | Group::Named(_) | Group::Tag(_) => checks,
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, overlay};
    use crate::group::Group::{All, Liveness, Readiness, Startup};
    use crate::status::Status::{Down, ShuttingDown, Unknown, Up};

    #[test]
    fn each_phase_touches_only_the_groups_it_should() {
        let new = Phase {
            started: false,
            shutting_down: false,
        };
        let ready = Phase {
            started: true,
            shutting_down: false,
        };
        let ending = Phase {
            started: true,
            shutting_down: true,
        };
        let table = [
            (Liveness, new, Up, Up),
            (Startup, new, Up, Unknown),
            (Readiness, new, Up, Unknown),
            (Readiness, new, Down, Down),
            (All, new, Up, Up),
            (Startup, ready, Down, Up),
            (Readiness, ready, Up, Up),
            (Liveness, ending, Up, Up),
            (Startup, ending, Up, Up),
            (Readiness, ending, Up, ShuttingDown),
            (All, ending, Down, ShuttingDown),
        ];
        for (group, phase, checks, expected) in table {
            assert_eq!(
                overlay(group, phase, checks),
                expected,
                "{group:?} {phase:?} {checks}"
            );
        }
    }
}
