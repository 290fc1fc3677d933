use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
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
    /// Whether the memory was full before the policy knew all, and whether somebody sees to it.
    late: AtomicBool,
    taken_on: AtomicBool,
}

/// So many entries each fill tells the policy of while it wakes, at least and at most.
const LEAST: usize = 8;
const MOST: usize = 1_024;

#[derive(Debug, Default)]
struct Waking {
    /// The part of the index that wakes next.
    next: usize,
    /// What the policy has still to hear of, of those that are awake.
    rest: Vec<(Spot, Kept)>,
}

impl Waking {
    fn some(&mut self, most: usize) -> Vec<(Spot, Kept)> {
        // From the end: the others stay where they are.
        let stay = self.rest.len().saturating_sub(most);
        self.rest.split_off(stay)
    }
}

impl Sleep {
    /// In a memory of so many bytes.
    pub(super) fn new(memory: u64) -> Self {
        Self {
            ends_at: memory / 4 * QUARTERS,
            state: AtomicU8::new(ASLEEP),
            waking: Mutex::default(),
            late: AtomicBool::new(false),
            taken_on: AtomicBool::new(false),
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

    /// How many entries a fill of this weight tells the policy of, where so many are held: it knows all of them when half of the last
    /// quarter is full, as long as no fill tells so many that it takes long.
    pub(super) fn share(&self, held: usize, weight: u64) -> usize {
        let held = u64::try_from(held).unwrap_or(u64::MAX);
        let half_of_the_rest = self.ends_at / (2 * QUARTERS);
        let share = held.saturating_mul(weight) / half_of_the_rest.max(1);
        usize::try_from(share).map_or(MOST, |share| share.clamp(LEAST, MOST))
    }

    /// The same where the memory is full before the policy knows all.
    pub(super) fn is_late(&self) -> usize {
        self.late.store(true, Ordering::Relaxed);
        MOST
    }

    /// The next entries that the policy has not heard of, at most so many; none after the last.
    pub(super) fn next(&self, index: &Index, most: usize) -> Vec<(Spot, Kept)> {
        let mut waking = self.waking();
        let mut next = waking.some(most);
        while next.len() < most && waking.next < Index::SHARDS {
            waking.rest = index.wake(waking.next);
            waking.next += 1;
            next.append(&mut waking.some(most - next.len()));
        }
        if next.is_empty() {
            self.state.store(AWAKE, Ordering::Release);
        }
        next
    }

    /// What was to be told next, of entries that nobody keeps any more.
    pub(super) fn forget(&self) -> Vec<(Spot, Kept)> {
        std::mem::take(&mut self.waking().rest)
    }

    /// Whether it is late and up to the caller to see to it, until [`give_back`](Self::give_back).
    pub(super) fn take_on(&self) -> bool {
        self.late.load(Ordering::Relaxed)
            && !self.is_over()
            && !self.taken_on.swap(true, Ordering::AcqRel)
    }

    pub(super) fn give_back(&self) {
        self.taken_on.store(false, Ordering::Release);
    }

    fn waking(&self) -> MutexGuard<'_, Waking> {
        self.waking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
