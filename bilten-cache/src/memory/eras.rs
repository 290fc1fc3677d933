use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::kept::Kept;

/// An era ends when this part of what is kept has been put in anew.
const PART: usize = 8;

/// Which reads the policy is told of: the first of each entry in each era.
///
/// Telling it costs more than the read itself, and what it hears only matters when something has to go. So the time
/// that counts is how much was put in: an era is as long as it takes to fill an eighth of the memory anew. As long as
/// nothing is filled, nothing is told; while there is a great coming and going, many of the reads are. The hit ratio does
/// not suffer: an entry that is read now and then is told of several times before it would be the oldest.
#[derive(Debug, Default)]
pub(super) struct Eras {
    now: AtomicU32,
    /// Fills in this era.
    fills: AtomicUsize,
}

impl Eras {
    /// Whether the policy has to be told of this read.
    pub(super) fn is_first_read(&self, kept: &Kept) -> bool {
        let now = self.now.load(Ordering::Relaxed);
        if kept.was_told_in(now) {
            return false;
        }
        kept.told_in(now);
        true
    }

    /// An entry is about to be put in. That it was asked for is known already.
    pub(super) fn begins(&self, kept: &Kept) {
        kept.told_in(self.now.load(Ordering::Relaxed));
    }

    /// One more was put in, where there are `held` now.
    pub(super) fn filled(&self, held: usize) {
        if self.fills.fetch_add(1, Ordering::Relaxed) >= held / PART {
            self.fills.store(0, Ordering::Relaxed);
            self.now.fetch_add(1, Ordering::Relaxed);
        }
    }
}
