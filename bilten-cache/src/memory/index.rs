use std::hash::{BuildHasher, Hasher};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(not(test))]
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;
// Here a schedule is chosen at each lock: the tests go through many.
#[cfg(test)]
use shuttle::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::kept::Kept;

/// Parts of the index with a lock each, a power of two. Growing stops one of them only.
const SHARDS: usize = if cfg!(test) { 2 } else { 256 };

/// Where the reads of L1 look: from a key to its entry, and nothing else.
///
/// What stays is the policy's decision. The locks are held for a look or a pointer, and no other lock is taken and nothing
/// is dropped under them.
pub(super) struct Index {
    shards: Box<[Shard]>,
    hasher: foldhash::fast::RandomState,
    held: AtomicUsize,
    /// What they weigh by themselves.
    bytes: AtomicU64,
}

/// A line of the processor's cache of its own, so that locks do not disturb each other.
#[repr(align(64))]
struct Shard(RwLock<Part>);

#[derive(Default)]
struct Part {
    table: HashTable<Kept>,
    /// Whether it was woken, see [`Index::wake`].
    awake: bool,
}

/// What became of an entry that was to be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    Refused,
    /// Into a part that is awake.
    Awake,
    /// Into one that is not: a policy that sleeps hears of it when that wakes.
    Asleep,
}

/// The hash of a key. Two keys may have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Spot(pub(super) u64);

impl Index {
    pub(super) const SHARDS: usize = SHARDS;

    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard(RwLock::default())).collect(),
            hasher: foldhash::fast::RandomState::default(),
            held: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Wakes a part, and says what it has. In the beginning all of them are asleep.
    pub(super) fn wake(&self, number: usize) -> Vec<(Spot, Kept)> {
        let mut part = self.part(number);
        part.awake = true;
        let all = part.table.iter();
        all.map(|kept| (self.spot(kept.key()), kept.clone()))
            .collect()
    }

    pub(super) fn spot(&self, key: &[u8]) -> Spot {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        Spot(hasher.finish())
    }

    /// Calls `read` with the key's entry, under the lock.
    pub(super) fn read<R>(
        &self,
        spot: Spot,
        key: &str,
        read: impl FnOnce(&Kept) -> R,
    ) -> Option<R> {
        let shard = self.shard(spot).read();
        let shard: RwLockReadGuard<'_, _> = shard.unwrap_or_else(PoisonError::into_inner);
        let there = |kept: &Kept| kept.key() == key.as_bytes();
        shard.table.find(spot.0, there).map(read)
    }

    /// Puts an entry in, in the place of another of its key, if `allowed` says so while nobody else can.
    pub(super) fn insert_if(
        &self,
        spot: Spot,
        kept: &Kept,
        allowed: impl FnOnce(Option<&Kept>) -> bool,
    ) -> Put {
        let mut shard = self.write(spot);
        let put = match shard.awake {
            true => Put::Awake,
            false => Put::Asleep,
        };
        let same_key = |there: &Kept| there.key() == kept.key();
        let hash = |there: &Kept| self.spot(there.key()).0;
        let replaced = match shard.table.entry(spot.0, same_key, hash) {
            Place::Occupied(mut place) => {
                if !allowed(Some(place.get())) {
                    return Put::Refused;
                }
                Some(std::mem::replace(place.get_mut(), kept.clone()))
            }
            Place::Vacant(place) => {
                if !allowed(None) {
                    return Put::Refused;
                }
                place.insert(kept.clone());
                self.held.fetch_add(1, Ordering::Relaxed);
                None
            }
        };
        // Before anybody can take it out again.
        self.bytes.fetch_add(kept.weight.into(), Ordering::Relaxed);
        drop(shard);
        if let Some(replaced) = replaced {
            self.lighter(replaced.weight.into());
        }
        put
    }

    /// Takes out what is there of a key.
    pub(super) fn remove(&self, spot: Spot, key: &[u8]) {
        self.take(spot, |kept| kept.key() == key);
    }

    /// Takes out this entry and no newer one. Whether it was there.
    pub(super) fn remove_exactly(&self, spot: Spot, gone: &Kept) -> bool {
        self.take(spot, |kept| kept.is_same(gone))
    }

    /// What is there of a key.
    pub(super) fn find(&self, spot: Spot, key: &[u8]) -> Option<Kept> {
        let shard = self.shard(spot).read();
        let shard: RwLockReadGuard<'_, _> = shard.unwrap_or_else(PoisonError::into_inner);
        shard.table.find(spot.0, |kept| kept.key() == key).cloned()
    }

    /// Whether this entry is there, and not another one.
    pub(super) fn holds(&self, spot: Spot, kept: &Kept) -> bool {
        let shard = self.shard(spot).read();
        let shard: RwLockReadGuard<'_, _> = shard.unwrap_or_else(PoisonError::into_inner);
        let same = |there: &Kept| there.is_same(kept);
        shard.table.find(spot.0, same).is_some()
    }

    /// How many there are in a shard, by its number or one that leads around to it, and those of them that `is_it` picks.
    pub(super) fn select(&self, shard: usize, is_it: impl Fn(&Kept) -> bool) -> (usize, Vec<Kept>) {
        let shard = self.shards[shard % SHARDS].0.read();
        let shard: RwLockReadGuard<'_, _> = shard.unwrap_or_else(PoisonError::into_inner);
        let picked = shard.table.iter().filter(|kept| is_it(kept)).cloned();
        (shard.table.len(), picked.collect())
    }

    fn take(&self, spot: Spot, is_it: impl FnMut(&Kept) -> bool) -> bool {
        let mut shard = self.write(spot);
        let taken = shard.table.find_entry(spot.0, is_it).ok();
        let taken = taken.map(|place| place.remove().0);
        drop(shard);
        if let Some(taken) = &taken {
            self.held.fetch_sub(1, Ordering::Relaxed);
            self.lighter(taken.weight.into());
        }
        taken.is_some()
    }

    pub(super) fn clear(&self) {
        for number in 0..SHARDS {
            let mut part = self.part(number);
            let emptied = std::mem::take(&mut part.table);
            drop(part);
            self.held.fetch_sub(emptied.len(), Ordering::Relaxed);
            self.lighter(emptied.iter().map(|kept| u64::from(kept.weight)).sum());
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// What they weigh by themselves.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn lighter(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn part(&self, number: usize) -> RwLockWriteGuard<'_, Part> {
        let part = self.shards[number].0.write();
        part.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, spot: Spot) -> RwLockWriteGuard<'_, Part> {
        self.shard(spot)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// By bits that the table itself does not look at.
    fn shard(&self, spot: Spot) -> &RwLock<Part> {
        let number = usize::try_from(spot.0 >> 40 & (SHARDS as u64 - 1)).unwrap_or(0);
        &self.shards[number].0
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}
