use std::sync::PoisonError;
use std::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};

// Here a schedule is chosen at each lock: the tests go through many.
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard};

use super::index::{Index, Spot};
use crate::kept::Kept;

/// The policy sleeps until so much of the memory is full, in quarters.
const QUARTERS: u64 = 3;

const ASLEEP: u8 = 0;
const WAKING: u8 = 1;
const AWAKE: u8 = 2;

/// As long as there is room for more, nobody has to decide what goes, and no policy needs to hear of anything: to tell it of an entry costs
/// several times what all the rest of a fill does. The index alone knows the entries then.
///
/// Once the memory is three quarters full each fill tells the policy of some of them, until it knows all. A part of the index wakes as a
/// whole, under its lock: what came before that is told here, what comes later by whoever puts it in, and nothing twice.
#[derive(Debug)]
pub(super) struct Sleep {
    ends_at: u64,
    state: AtomicU8,
    waking: Mutex<Waking>,
}

#[derive(Debug, Default)]
struct Waking {
    /// The part of the index that wakes next.
    next: usize,
    /// What the policy has still to hear of, of those that are awake.
    rest: Vec<(Spot, Kept)>,
}

impl Sleep {
    /// In a memory of so many bytes.
    pub(super) fn new(memory: u64) -> Self {
        Self {
            ends_at: memory / 4 * QUARTERS,
            state: AtomicU8::new(ASLEEP),
            waking: Mutex::default(),
        }
    }

    /// Whether the policy hears of nothing yet.
    pub(super) fn is_deep(&self) -> bool {
        self.state.load(Ordering::Relaxed) == ASLEEP
    }

    /// Whether the policy knows all entries.
    pub(super) fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) == AWAKE
    }

    /// Whether it has to wake, now that so many bytes are taken.
    pub(super) fn ends(&self, bytes: u64) -> bool {
        if bytes < self.ends_at && self.is_deep() {
            return false;
        }
        self.state.fetch_max(WAKING, Ordering::AcqRel).max(WAKING) == WAKING
    }

    /// The next entries that the policy has not heard of, at most so many; none after the last.
    pub(super) fn next(&self, index: &Index, most: usize) -> Vec<(Spot, Kept)> {
        let mut waking = self.waking();
        while waking.rest.is_empty() && waking.next < Index::SHARDS {
            waking.rest = index.wake(waking.next);
            waking.next += 1;
        }
        if waking.rest.is_empty() {
            self.state.store(AWAKE, Ordering::Release);
        }
        let some = waking.rest.len().min(most);
        waking.rest.drain(..some).collect()
    }

    fn waking(&self) -> MutexGuard<'_, Waking> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
