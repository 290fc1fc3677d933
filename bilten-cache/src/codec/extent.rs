//! Looks how long and how deep a value will be, before it is written. rmp-serde keeps what does not know its length to itself until
//! that ends, whatever room there is: something endless would take all memory, and never come back.

use std::cell::Cell;

use super::look::{Eye, Found, Lost};
use super::walk::DEEPEST;

#[derive(Debug, Clone, Copy)]
pub(super) struct Extent<'n> {
    /// `None`: there was less than it took.
    room: &'n Cell<Option<usize>>,
    depth: usize,
}

impl<'n> Extent<'n> {
    pub(super) fn within(room: &'n Cell<Option<usize>>) -> Self {
        Self { room, depth: 0 }
    }
}

impl Eye for Extent<'_> {
    fn is_human_readable(self) -> bool {
        false
    }

    fn bytes(self, least: usize) -> Found {
        let left = self.room.get().and_then(|room| room.checked_sub(least));
        self.room.set(left);
        left.map(drop).ok_or(Lost::Long)
    }

    /// As others, which have taken one byte.
    fn float(self, _: f64) -> Found {
        Ok(())
    }

    fn deeper(self) -> Result<Self, Lost> {
        let depth = self.depth + 1;
        match depth > DEEPEST {
            true => Err(Lost::Deep(DEEPEST)),
            false => Ok(Self { depth, ..self }),
        }
    }
}
