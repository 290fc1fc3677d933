//! What is still to be told of a check, in the order in which it happened.

use super::Slot;
use crate::change::Change;
use std::collections::VecDeque;
use std::time::Duration;

/// More than this does not wait for a log or a recorder that blocks; the oldest are left out.
const WAITING: usize = 1024;

/// Something happened to a check that is to be measured, logged and told.
#[derive(Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(crate) struct Note {
    pub(crate) healthy: bool,
    pub(crate) degraded: bool,
    /// How long the run took; none when it was no run.
    pub(crate) duration: Option<Duration>,
    pub(crate) change: Option<Change>,
}

/// Filled under the lock under which results are stored, so its order is theirs.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Note>,
    telling: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, note: Note) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(note);
    }
}

/// The one who tells the notes of a slot at present; holds no lock while it does.
pub(crate) struct Telling<'slot>(&'slot Slot);

impl Slot {
    /// The notes to tell; none when somebody else is about it, who will tell all of them.
    pub(crate) fn telling(&self) -> Option<Telling<'_>> {
        let mut state = self.state();
        (!std::mem::replace(&mut state.outbox.telling, true)).then(|| Telling(self))
    }
}

impl Telling<'_> {
    /// Tells one note after the other; when none is left, the place is given free under the same lock.
    pub(crate) fn each(self, mut tell: impl FnMut(Note)) {
        loop {
            let mut state = self.0.state();
            let Some(note) = state.outbox.waiting.pop_front() else {
                state.outbox.telling = false;
                drop(state);
                // Somebody else may hold the place by now.
                std::mem::forget(self);
                return;
            };
            drop(state);
            tell(note);
        }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        // Only after a panic of a log or a recorder: whoever comes next tells the rest.
        self.0.state().outbox.telling = false;
    }
}
