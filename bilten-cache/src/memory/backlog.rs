use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};

// Here a schedule is chosen at each lock: the tests go through many.
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard};

use super::index::Spot;
use crate::kept::Kept;

/// So many are worth a task, which costs about as much as one of them.
const WORTH_IT: usize = 32;
/// The most entries that wait.
const MOST: usize = 256;
/// The part of the memory that all of them may take, and the part of that for one.
const PART: u64 = 32;
const SHARE: u64 = 8;

/// Entries that the index has, and of which the policy is not told before somebody has the time for it: that costs several times what all
/// the rest of a fill does, and whoever waits for the value has no need of it.
///
/// Bounded in number and bytes, because nothing of it can be evicted. The task that has taken some on has no more than that either.
#[derive(Debug)]
pub(super) struct Backlog {
    bytes: u64,
    waiting: Mutex<Waiting>,
    /// Whether enough wait, and whether somebody will see to it.
    due: AtomicBool,
    taken_on: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<(Spot, Kept)>,
    bytes: u64,
}

impl Backlog {
    /// Of a memory of so many bytes.
    pub(super) fn new(memory: u64) -> Self {
        Self {
            bytes: memory / PART,
            waiting: Mutex::default(),
            due: AtomicBool::new(false),
            taken_on: AtomicBool::new(false),
        }
    }

    pub(super) fn takes(&self, kept: &Kept) -> bool {
        u64::from(kept.weight) <= self.bytes / SHARE
    }

    /// Whether it is full now.
    pub(super) fn add(&self, spot: Spot, kept: Kept) -> bool {
        let mut waiting = self.waiting();
        waiting.bytes = waiting.bytes.saturating_add(kept.weight.into());
        waiting.entries.push((spot, kept));
        if waiting.entries.len() >= WORTH_IT {
            self.due.store(true, Ordering::Relaxed);
        }
        waiting.entries.len() >= MOST || waiting.bytes >= self.bytes
    }

    /// Everything that waits.
    pub(super) fn take(&self) -> Vec<(Spot, Kept)> {
        let mut waiting = self.waiting();
        self.due.store(false, Ordering::Relaxed);
        std::mem::take(&mut *waiting).entries
    }

    /// Whether it is time and up to the caller to see to it, until [`give_back`](Self::give_back).
    pub(super) fn take_on(&self) -> bool {
        self.due.load(Ordering::Relaxed) && !self.taken_on.swap(true, Ordering::AcqRel)
    }

    pub(super) fn give_back(&self) {
        self.taken_on.store(false, Ordering::Release);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
