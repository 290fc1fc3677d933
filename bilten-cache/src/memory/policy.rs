use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::notification::RemovalCause;

use super::index::{Index, Spot};
use crate::clock::{Clock, NEVER};
use crate::entry::Entry;
use crate::kept::Kept;

/// Decides what stays in memory, by weight, popularity and time.
///
/// It owns the entries; the index only knows where they are. What it gives up it takes out of the index itself, by
/// [`Index::remove_exactly`]. Each [`Kept`] is put into it at most once.
pub(crate) trait Policy: std::fmt::Debug + Send + Sync {
    /// Changes what is kept at a spot. Nobody else changes it from before `change` is called until all is done.
    fn change(&self, spot: Spot, change: impl FnOnce() -> Change);

    /// In the same way, gives up what is kept at a spot if it is a stray.
    fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool);

    /// Whether the entry would fit in if nothing else were there. One that does not is never put in.
    fn has_room_for(&self, kept: &Kept) -> bool;

    /// Learns that a spot was asked for, whether or not something is there.
    fn touch(&self, spot: Spot);

    /// Gives everything up, at its leisure.
    fn clear(&self);

    /// How many there are, after everything that was put off.
    fn entries(&self) -> u64;

    fn bytes(&self) -> u64;

    /// Shows everything that is kept, after everything that was put off.
    #[cfg(any(test, feature = "test-util"))]
    fn each(&self, f: impl FnMut(Spot, &Kept));
}

/// What becomes of a spot.
pub(crate) enum Change {
    Nothing,
    Put(Kept),
    Remove,
}

/// The policy of moka: TinyLFU.
#[derive(Debug)]
pub(crate) struct Moka {
    store: Store,
    bytes: u64,
    /// By spot. moka's own way to change a key under a lock makes one for each change.
    changing: Box<[Mutex<()>]>,
}

/// A power of two.
const LOCKS: usize = 64;

type Store = moka::sync::Cache<u64, Kept, foldhash::fast::RandomState>;

impl Moka {
    /// `no_room` hears of each key that was given up, or not taken, because memory is full.
    pub(super) fn new(
        bytes: u64,
        clock: Clock,
        index: Arc<Index>,
        no_room: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        let gone = move |spot: Arc<u64>, kept: Kept, why: RemovalCause| {
            index.remove_exactly(Spot(*spot), &kept);
            if why == RemovalCause::Size {
                no_room(kept.key());
            }
        };
        let store = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, kept: &Kept| kept.weight)
            .expire_after(Death(clock))
            .eviction_listener(gone)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            store,
            bytes,
            changing: (0..LOCKS).map(|_| Mutex::default()).collect(),
        }
    }

    fn lock(&self, spot: Spot) -> MutexGuard<'_, ()> {
        let number = usize::try_from(spot.0 >> 40 & (LOCKS as u64 - 1)).unwrap_or(0);
        let lock = self.changing[number].lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policy for Moka {
    fn change(&self, spot: Spot, change: impl FnOnce() -> Change) {
        let _alone = self.lock(spot);
        match change() {
            Change::Put(kept) => self.store.insert(spot.0, kept),
            Change::Remove => self.store.invalidate(&spot.0),
            Change::Nothing => {}
        }
    }

    fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool) {
        let _alone = self.lock(spot);
        if self
            .store
            .get(&spot.0)
            .is_some_and(|there| is_stray(&there))
        {
            self.store.invalidate(&spot.0);
        }
    }

    fn has_room_for(&self, kept: &Kept) -> bool {
        u64::from(kept.weight) <= self.bytes
    }

    fn touch(&self, spot: Spot) {
        let _ = self.store.get(&spot.0);
    }

    fn clear(&self) {
        self.store.invalidate_all();
    }

    fn entries(&self) -> u64 {
        self.store.run_pending_tasks();
        self.store.entry_count()
    }

    fn bytes(&self) -> u64 {
        self.store.weighted_size()
    }

    #[cfg(any(test, feature = "test-util"))]
    fn each(&self, mut f: impl FnMut(Spot, &Kept)) {
        // One round does a part of it.
        for _ in 0..1_000 {
            self.store.run_pending_tasks();
        }
        for (spot, kept) in &self.store {
            f(Spot(*spot), &kept);
        }
    }
}

/// Gives the bytes of dead entries back. Whether an entry may be served is decided elsewhere.
#[derive(Debug)]
struct Death(Clock);

impl Death {
    fn after(&self, entry: &Entry) -> Option<Duration> {
        let left = entry.kept_until().saturating_sub(self.0.now());
        (left < NEVER / 2).then(|| Duration::from_nanos(left))
    }
}

impl Expiry<u64, Kept> for Death {
    fn expire_after_create(&self, _: &u64, kept: &Kept, _: Instant) -> Option<Duration> {
        self.after(kept)
    }

    fn expire_after_update(
        &self,
        _: &u64,
        kept: &Kept,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.after(kept)
    }
}
