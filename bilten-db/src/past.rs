//! What a node was before: when its server was started, and which parts it played.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use crate::driver::Sample;

/// Kept while nobody reaches the node.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// 0 until the node said it.
    started: AtomicI64,
    moves: AtomicU64,
    /// Seen as a standby since it was the primary, if it ever was.
    stood_by: AtomicBool,
    /// Takes writes without having been made the primary from a standby: nobody meant it to be the primary.
    rival: AtomicBool,
    /// The timeline of the writes that it took when it was last seen; 0 for a standby, and where there are no timelines.
    wrote_on: AtomicU32,
}

impl Past {
    /// Which part it plays now.
    pub(crate) fn told(&self, sample: &Sample) {
        match sample.in_recovery {
            Some(true) => {
                self.stood_by.store(true, Ordering::Relaxed);
                self.rival.store(false, Ordering::Relaxed);
                self.wrote_on.store(0, Ordering::Relaxed);
            }
            Some(false) => {
                let timeline = sample.timeline.unwrap_or(0);
                self.wrote_on.store(timeline, Ordering::Relaxed);
            }
            None => {}
        }
    }

    pub(crate) fn became_primary(&self) {
        self.stood_by.store(false, Ordering::Relaxed);
        self.rival.store(false, Ordering::Relaxed);
    }

    /// Another node is the primary. A standby that is made writable is on its way to be the primary; what never was one
    /// is set up wrongly, or is an old primary with a history of its own, also when it is away now.
    pub(crate) fn is_beside_the_primary(&self) {
        if !self.stood_by.load(Ordering::Relaxed) {
            self.rival.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_rival(&self) -> bool {
        self.rival.load(Ordering::Relaxed)
    }

    pub(crate) fn wrote_on(&self) -> u32 {
        self.wrote_on.load(Ordering::Relaxed)
    }

    /// Whether the server was started again since it was last seen. One that is asked for the first time under this address
    /// was not: `moves` counts how often another may have taken it.
    pub(crate) fn restarted(&self, started: Option<i64>, moves: u64) -> bool {
        started.is_some_and(|started| {
            let before = self.started.swap(started, Ordering::Relaxed);
            before != started && self.moves.swap(moves, Ordering::Relaxed) == moves && before != 0
        })
    }

    /// The start of the server that was last seen; 0 when it never told one.
    pub(crate) fn started(&self) -> i64 {
        self.started.load(Ordering::Relaxed)
    }
}
