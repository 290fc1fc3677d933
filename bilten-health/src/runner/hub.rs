//! Where results arrive.

use super::board::Board;
use super::measure::measure;
use crate::change::{Change, Listeners};
use crate::check::Verdict;
use crate::slot::Slot;
use std::time::Duration;

/// Stores results, makes reports that were made without them invalid, and tells of changes.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) board: Board,
    listeners: Listeners,
}

impl Hub {
    pub(super) fn new(listeners: Listeners) -> Self {
        Self {
            board: Board::default(),
            listeners,
        }
    }

    /// Takes the result of a run.
    pub(super) fn store(&self, slot: &Slot, verdict: Verdict, duration: Duration) {
        let healthy = verdict.status.is_healthy();
        let change = slot.record(verdict, duration);
        self.board.raise();
        measure(&slot.name, healthy, duration, change.is_some());
        if let Some(change) = change {
            log(&change);
            self.listeners.tell(change);
        }
    }
}

fn log(change: &Change) {
    let (check, from, to) = (&*change.check, change.from.as_str(), change.to.as_str());
    match &change.error {
        Some(error) if !change.to.is_healthy() => {
            tracing::warn!(check, from, to, %error, "health check changed")
        }
        _ => tracing::info!(check, from, to, "health check changed"),
    }
}
