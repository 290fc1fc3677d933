//! What this node knows of the log, and what that means for an entry.

mod changes;
mod contact;
mod demands;
mod load;
mod local;
mod markers;
mod older;
mod records;
mod trust;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use self::changes::Changed;
use self::changes::Changes;
pub(crate) use self::demands::{Demands, Order};
use self::markers::Markers;
pub(crate) use self::records::Effect;
use crate::clock::{NEVER, Nanos};
use crate::entry::Began;
use crate::remote::Author;

/// This node's view of the log. No I/O: the tail of the log feeds it.
///
/// Without a second level it is the log: positions are counted here.
#[derive(Debug)]
pub(crate) struct Coherence {
    node: u64,
    isolated_after: Nanos,
    /// The highest position in any reply.
    seen: AtomicU64,
    /// Where the log stood when it was asked last.
    announced: AtomicU64,
    /// Rises with every marker and every flush: an entry checked at this epoch is still valid.
    epoch: AtomicU64,
    /// Rises with every flush and with every invalidation that has no place in the log yet.
    generation: AtomicU64,
    /// What is of a generation before this one is void.
    flushed: AtomicU64,
    incarnation: AtomicU64,
    /// The incarnation that must not go on: an older copy of it took over. 0 for none.
    owed: AtomicU64,
    /// What follows no record from here on may have been brought back by the older copy that is followed now.
    floor: AtomicU64,
    /// The record up to which L1 is as the log says.
    settled: AtomicU64,
    /// Rises whenever the view was found to be wrong, so that a snapshot asked for earlier does not count.
    doubts: AtomicU64,
    synced: AtomicBool,
    /// Whether whatever answers next may be another server than the one that was followed.
    questioned: AtomicBool,
    last_contact: AtomicU64,
    /// Milliseconds since 1970 by the store's clock, minus ours.
    server_offset: AtomicI64,
    view: RwLock<View>,
    /// A planted bug, for tests of a checker.
    #[cfg(feature = "test-util")]
    forgets_changes: bool,
}

#[derive(Debug, Default)]
struct View {
    markers: Markers,
    applied: u64,
    /// The stamp of the record that was applied last, if it is known.
    stamp: Option<u64>,
    /// Records of our own beyond the one that was applied last.
    ahead: BTreeSet<u64>,
    /// What loads must reflect. Outlives the log: the source has no part in its end.
    demands: Demands,
    /// What was said about single keys.
    changes: Changes,
    /// Invalidations that wait for their place in the log, by the generation in which they began.
    local: Markers,
    /// Incarnations that were followed before this one, the newest last.
    left: VecDeque<u64>,
}

impl Coherence {
    /// `isolated_after` is how long L1 is trusted without contact to the log; `None` without a shared log.
    pub(crate) fn new(node: u64, isolated_after: Option<Nanos>) -> Self {
        Self {
            node,
            isolated_after: isolated_after.unwrap_or(NEVER),
            seen: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            synced: AtomicBool::new(false),
            questioned: AtomicBool::new(false),
            last_contact: AtomicU64::new(if isolated_after.is_some() { 0 } else { NEVER }),
            server_offset: AtomicI64::new(0),
            view: RwLock::default(),
            #[cfg(feature = "test-util")]
            forgets_changes: false,
        }
    }

    /// To be taken before a read begins that may fill a cache.
    pub(crate) fn begin(&self) -> Began {
        // The position last: a flush or another log in between makes the value invalid, not valid too long.
        let generation = self.generation.load(Ordering::Acquire);
        let incarnation = self.incarnation();
        Began {
            position: self.seen.load(Ordering::Acquire),
            generation,
            incarnation,
        }
    }

    pub(crate) fn author(&self) -> Author {
        Author {
            node: self.node,
            incarnation: self.incarnation(),
            seen: self.seen(),
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    pub(crate) fn applied(&self) -> u64 {
        self.read().applied
    }

    /// The record up to which L1 is as the log says.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// L1 is as the log says, as far as it was applied.
    pub(crate) fn settle(&self) {
        self.settled.store(self.applied(), Ordering::Release);
    }

    pub(crate) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Whether the markers are known, without which nothing in L2 can be trusted.
    pub(crate) fn has_snapshot(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// The same, and they are those of the server that answers now.
    pub(crate) fn is_synced(&self) -> bool {
        self.has_snapshot() && !self.questioned.load(Ordering::Acquire)
    }

    /// Nobody answered, whoever asked for whatever: who answers next may be a copy that never had the last records. Until its log was
    /// looked at, its values do not count.
    pub(crate) fn question(&self) {
        self.questioned.store(true, Ordering::Release);
    }

    /// It is the log that was followed so far.
    pub(crate) fn confirm(&self) {
        self.questioned.store(false, Ordering::Release);
    }

    pub(crate) fn markers(&self) -> (usize, u64) {
        let view = self.read();
        (view.markers.len(), view.markers.overflows())
    }

    fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}
