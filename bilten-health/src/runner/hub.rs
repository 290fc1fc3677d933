//! Where results arrive.

use super::board::Board;
use crate::caught::caught;
use crate::change::Listeners;
use crate::check::Verdict;
use crate::registry::Registry;
use crate::slot::Slot;
use std::sync::Arc;
use std::time::Duration;

/// Stores results, makes reports that were made without them invalid, and tells of changes.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) board: Board,
    listeners: Listeners,
    registry: Arc<Registry>,
}

impl Hub {
    pub(super) fn new(listeners: Listeners, registry: Arc<Registry>) -> Self {
        Self {
            board: Board::default(),
            listeners,
            registry,
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
            let changed = note.change.is_some();
            let measure = || {
                slot.measured
                    .note(&slot.name, note.found, note.duration, changed);
            };
            if caught(measure).is_none() {
                tracing::error!(check = &*slot.name, "the recorder of the metrics panicked");
            }
            if note.found.is_none() {
                self.show_successor(slot);
            }
            if let Some(change) = note.change {
                self.listeners.tell(change);
            }
        });
    }

    /// The levels of a check were taken back: those of another one, registered under its name meanwhile, went with them.
    fn show_successor(&self, slot: &Slot) {
        if let Some(next) = self.registry.get(&slot.name)
            && !std::ptr::eq(&raw const *next, slot)
            && next.tell_again()
        {
            self.publish(&next);
        }
    }
}
