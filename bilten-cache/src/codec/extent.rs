//! Looks how long and how deep a value will be, before it is written. rmp-serde keeps what does not know its length to itself until
//! that ends, whatever room there is: something endless would take all memory, and never come back.

use std::cell::Cell;

use super::look::{Eye, Found, Lost};
use super::walk::DEEPEST;

/// What a look has found so far. Noted here and not only told by its error: a `Serialize` may make another one of that, or none.
#[derive(Debug)]
pub(super) struct Seen {
    /// What is left. `None`: there was less than it took.
    pub(super) room: Cell<Option<usize>>,
    /// Whether it is nested deeper than can be read.
    pub(super) deep: Cell<bool>,
}

impl Seen {
    pub(super) fn with_room(room: usize) -> Self {
        Self {
            room: Cell::new(Some(room)),
            deep: Cell::new(false),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'n> {
    seen: &'n Seen,
    depth: usize,
}

impl<'n> Extent<'n> {
    pub(super) fn of(seen: &'n Seen) -> Self {
        Self { seen, depth: 0 }
    }
}

impl Eye for Extent<'_> {
    fn is_human_readable(self) -> bool {
        false
    }

    fn bytes(self, least: usize) -> Found {
        let room = &self.seen.room;
        let left = room.get().and_then(|room| room.checked_sub(least));
        room.set(left);
        left.map(drop).ok_or(Lost::Long)
    }

    /// As others, which have taken one byte.
    fn float(self, _: f64) -> Found {
        Ok(())
    }

    fn deeper(self) -> Result<Self, Lost> {
        let depth = self.depth + 1;
        match depth > DEEPEST {
            true => {
                self.seen.deep.set(true);
                Err(Lost::Deep(DEEPEST))
            }
            false => Ok(Self { depth, ..self }),
        }
    }
}
