//! Where results arrive.

use super::board::Board;
use super::measure::measure;
use crate::caught::caught;
use crate::change::Listeners;
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
        slot.record(verdict, duration);
        self.publish(slot);
    }

    /// Something has been stored in the slot.
    pub(super) fn publish(&self, slot: &Slot) {
        self.board.raise();
        // By one at a time and in the order of the results, although the next run may end meanwhile.
        let Some(telling) = slot.telling() else {
            return;
        };
        telling.each(|note, left_out| {
            if left_out > 0 {
                tracing::warn!(
                    check = &*slot.name,
                    left_out,
                    "the log or the metrics are too slow for the results of this health check; the oldest were left out"
                );
            }
            if caught(|| measure(&slot.name, &note)).is_none() {
                tracing::error!(check = &*slot.name, "the recorder of the metrics panicked");
            }
            if let Some(change) = note.change {
                self.listeners.tell(change);
            }
        });
    }
}
