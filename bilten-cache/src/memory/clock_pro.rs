use std::sync::Arc;

use quick_cache::{Lifecycle, OptionsBuilder, Weighter};

use super::index::{Index, Spot};
use super::policy::{Change, Locks, Policy};
use crate::kept::Kept;

/// The policy of quick_cache: CLOCK-Pro, with what it keeps in one slab. To put an entry in costs no allocation, where moka makes eleven.
pub(crate) struct ClockPro {
    store: Store,
    /// The largest weight that it takes in.
    largest: u64,
    index: Arc<Index>,
    no_room: NoRoom,
    changing: Locks,
}

type Store = quick_cache::sync::Cache<u64, Kept, ByWeight, foldhash::fast::RandomState, GiveUp>;

type NoRoom = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A part of the store with a lock of its own has room for so much at least: it takes nothing in that is larger.
const PART_BYTES: u64 = 32 << 20;
const MOST_PARTS: u64 = 64;

/// What an entry weighs, about: for how many keys are remembered that were given up lately, two for each of these.
const USUAL_BYTES: u64 = 512;

/// The part of the room that is for entries which have come back. The others are there on trial.
const PROVEN: f64 = 0.97;

impl ClockPro {
    /// `no_room` hears of each key that was given up, or not taken, because memory is full.
    pub(super) fn new(
        bytes: u64,
        index: Arc<Index>,
        no_room: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        let parts = (bytes / PART_BYTES).clamp(1, MOST_PARTS);
        // Rounded down to a power of two; the store would round up.
        let parts = 1 << parts.ilog2();
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity(usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX))
            .shards(parts)
            .hot_allocation(PROVEN)
            .build();
        // It fails only where one of the two above is missing.
        let options = options.expect("all that it asks for is there");
        let hasher = foldhash::fast::RandomState::default();
        let store = Store::with_options(options, ByWeight, hasher, GiveUp);
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let largest = (store.shard_capacity() as f64 * PROVEN) as u64;
        Self {
            store,
            largest,
            index,
            no_room: Box::new(no_room),
            changing: Locks::new(),
        }
    }

    /// Takes out of the index what had to go for the sake of `spot`. Under no lock: what is dropped here may be anything.
    fn let_go(&self, gone: GivenUp, spot: Spot) {
        for (place, kept) in gone.first.into_iter().chain(gone.others) {
            // An older entry goes unseen where a newer one of its key has not been told of yet.
            let was_there = self.index.remove_exactly(Spot(place), &kept);
            if was_there && place != spot.0 {
                (self.no_room)(kept.key());
            }
        }
    }
}

impl Policy for ClockPro {
    fn change(&self, spot: Spot, change: impl FnOnce() -> Change) {
        let mut gone = GivenUp::default();
        let alone = self.changing.lock(spot);
        let removed = match change() {
            Change::Put(kept) => {
                self.store.insert_with_lifecycle(spot.0, kept, &mut gone);
                None
            }
            Change::Remove => self.store.remove(&spot.0),
            Change::Nothing => None,
        };
        drop(alone);
        drop(removed);
        self.let_go(gone, spot);
    }

    fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool) {
        let alone = self.changing.lock(spot);
        let there = self.store.peek(&spot.0);
        let stray = there.filter(is_stray).map(|_| self.store.remove(&spot.0));
        drop(alone);
        drop(stray);
    }

    fn has_room_for(&self, kept: &Kept) -> bool {
        u64::from(kept.weight) <= self.largest
    }

    fn not_taken(&self, key: &[u8]) {
        (self.no_room)(key);
    }

    fn touch(&self, spot: Spot) {
        let _ = self.store.get(&spot.0);
    }

    // It only counts the reads of what is there.
    fn missed(&self, _: Spot) {}

    fn clear(&self) {
        // One by one, so that nothing is dropped under a lock.
        for (spot, kept) in self.store.drain() {
            // Another one may have been put in meanwhile.
            self.index.remove_exactly(Spot(spot), &kept);
        }
    }

    fn entries(&self) -> u64 {
        self.store.len() as u64
    }

    fn bytes(&self) -> u64 {
        self.store.weight()
    }

    #[cfg(any(test, feature = "test-util"))]
    fn each(&self, mut f: impl FnMut(Spot, &Kept)) {
        for (spot, kept) in self.store.iter() {
            f(Spot(spot), &kept);
        }
    }
}

impl std::fmt::Debug for ClockPro {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockPro")
            .field("entries", &self.entries())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct ByWeight;

impl Weighter<u64, Kept> for ByWeight {
    fn weight(&self, _: &u64, kept: &Kept) -> u64 {
        kept.weight.into()
    }
}

/// Collects under the store's lock what has to go, to be dropped after it.
#[derive(Debug, Clone, Copy)]
struct GiveUp;

/// Mostly there is one.
#[derive(Default)]
struct GivenUp {
    first: Option<(u64, Kept)>,
    others: Vec<(u64, Kept)>,
}

impl Lifecycle<u64, Kept> for GiveUp {
    type RequestState = GivenUp;

    fn on_evict(&self, gone: &mut GivenUp, spot: u64, kept: Kept) {
        match gone.first {
            None => gone.first = Some((spot, kept)),
            Some(_) => gone.others.push((spot, kept)),
        }
    }
}
