//! What is still to be told of a check, in the order in which it happened.

use super::Slot;
use crate::change::Changed;
use crate::status::Status;
use std::collections::VecDeque;
use std::time::Duration;

/// More than this does not wait for a log or a recorder that blocks; the oldest are left out.
const WAITING: usize = 1024;

/// Something happened to a check that is to be measured, logged and told.
#[derive(Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code))]
pub(crate) struct Note {
    /// What the run found, or its result has become; none once the check was removed, or was not asked for too long.
    pub(crate) found: Option<Status>,
    /// How long the run took; none when it was no run.
    pub(crate) duration: Option<Duration>,
    pub(crate) change: Option<Changed>,
}

/// Filled under the lock under which results are stored, so its order is theirs.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<Note>,
    telling: bool,
    /// How many were left out since the last one was told.
    left_out: u64,
    closed: bool,
}

impl Outbox {
    pub(super) fn push(&mut self, note: Note) {
        if self.closed {
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.left_out += 1;
        }
        self.waiting.push_back(note);
    }

    /// Takes no more: of what is found from now on, nobody hears.
    pub(super) const fn close(&mut self) {
        self.closed = true;
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
    /// Tells one note after the other, each with how many were left out before it; when none is left, the place is given free
    /// under the same lock.
    pub(crate) fn each(self, mut tell: impl FnMut(Note, u64)) {
        loop {
            let mut state = self.0.state();
            let Some(note) = state.outbox.waiting.pop_front() else {
                state.outbox.telling = false;
                drop(state);
                // Somebody else may hold the place by now.
                std::mem::forget(self);
                return;
            };
            let left_out = std::mem::take(&mut state.outbox.left_out);
            drop(state);
            tell(note, left_out);
        }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        // Only after a panic of a log or a recorder: whoever comes next tells the rest.
        self.0.state().outbox.telling = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{Note, Outbox, WAITING};
    use crate::status::Status;

    fn note(found: Option<Status>) -> Note {
        Note {
            found,
            duration: None,
            change: None,
        }
    }

    #[test]
    fn what_is_left_out_is_counted_and_nothing_comes_once_it_is_closed() {
        let mut outbox = Outbox::default();
        for _ in 0..WAITING + 7 {
            outbox.push(note(Some(Status::Up)));
        }
        assert_eq!((outbox.waiting.len(), outbox.left_out), (WAITING, 7));
        outbox.push(note(None));
        outbox.close();
        outbox.push(note(Some(Status::Up)));
        let last = outbox.waiting.back().and_then(|note| note.found);
        assert_eq!((last, outbox.left_out), (None, 8));
    }
}
