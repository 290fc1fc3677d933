//! Where results arrive.

use super::board::Board;
use crate::check::Verdict;
use crate::slot::Slot;
use std::time::Duration;

/// Stores results, makes reports that were made without them invalid, and tells of changes.
#[derive(Debug, Default)]
pub(super) struct Hub {
    pub(super) board: Board,
}

impl Hub {
    /// Takes the result of a run.
    pub(super) fn store(&self, slot: &Slot, verdict: Verdict, duration: Duration) {
        let error = verdict.error.clone();
        let change = slot.record(verdict, duration);
        self.board.raise();
        let Some(change) = change else { return };
        let (check, from, to) = (&*slot.name, change.from.as_str(), change.to.as_str());
        match error {
            Some(error) if !change.to.is_healthy() => {
                tracing::warn!(check, from, to, %error, "health check changed")
            }
            _ => tracing::info!(check, from, to, "health check changed"),
        }
    }
}
