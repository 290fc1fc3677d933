use std::sync::Arc;

use moka::notification::RemovalCause;

use super::index::{Index, Spot};
use super::policy::{Change, Locks, Policy};
use crate::kept::Kept;

/// The policy of moka, which is the default.
pub(crate) struct TinyLfu {
    store: Store,
    bytes: u64,
    no_room: NoRoom,
    changing: Locks,
}

type NoRoom = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// What its eleven allocations for an entry take beside what any policy would.
const NODES: u32 = 192;

fn weight(kept: &Kept) -> u32 {
    kept.weight.saturating_add(NODES)
}

type Store = moka::sync::Cache<u64, Kept, foldhash::fast::RandomState>;

impl TinyLfu {
    /// `no_room` hears of each key that was given up, or not taken, because memory is full.
    pub(super) fn new(
        bytes: u64,
        index: Arc<Index>,
        no_room: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        let no_room: NoRoom = Arc::new(no_room);
        let tells = Arc::clone(&no_room);
        let gone = move |spot: Arc<u64>, kept: Kept, why: RemovalCause| {
            // An older entry goes unseen where a newer one of its key has not been told of yet.
            let was_there = index.remove_exactly(Spot(*spot), &kept);
            if was_there && why == RemovalCause::Size {
                tells(kept.key());
            }
        };
        let store = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, kept: &Kept| weight(kept))
            .eviction_listener(gone)
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self {
            store,
            bytes,
            no_room,
            changing: Locks::new(),
        }
    }
}

impl Policy for TinyLfu {
    fn change(&self, spot: Spot, change: impl FnOnce() -> Change) {
        let _alone = self.changing.lock(spot);
        match change() {
            Change::Put(kept) => self.store.insert(spot.0, kept),
            Change::Remove => self.store.invalidate(&spot.0),
            Change::Nothing => {}
        }
    }

    fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool) {
        let _alone = self.changing.lock(spot);
        if self
            .store
            .get(&spot.0)
            .is_some_and(|there| is_stray(&there))
        {
            self.store.invalidate(&spot.0);
        }
    }

    fn has_room_for(&self, kept: &Kept) -> bool {
        u64::from(weight(kept)) <= self.bytes
    }

    fn not_taken(&self, key: &[u8]) {
        (self.no_room)(key);
    }

    fn touch(&self, spot: Spot) {
        let _ = self.store.get(&spot.0);
    }

    fn missed(&self, spot: Spot) {
        // moka counts what is asked for from when it is half full.
        if self.store.weighted_size() >= self.bytes / 2 {
            self.touch(spot);
        }
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

    fn overhead(&self) -> u64 {
        NODES.into()
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

impl std::fmt::Debug for TinyLfu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TinyLfu")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
