//! The regions of a run. Each key is in one of them: what is kept stale has ways of its own into both levels.

use std::time::Duration;

use bilten_cache::{Cache, Region};
use fastrand::Rng;

use crate::event::KEYS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    /// Nothing is served stale.
    Stock,
    /// What has ended or was expired is kept for a load that fails. None does, so nobody may see it.
    Kept,
    /// What ends soon is loaded anew ahead of time, and what has just ended is served meanwhile. What was removed is not.
    Due,
}

impl Shelf {
    pub(crate) const ALL: [Self; 3] = [Self::Stock, Self::Kept, Self::Due];

    pub(crate) fn of(key: u32) -> Self {
        match key % 7 {
            3 => Self::Kept,
            5 => Self::Due,
            _ => Self::Stock,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Kept => "kept",
            Self::Due => "due",
        }
    }

    /// Keys for one call.
    pub(crate) fn some<const N: usize>(rng: &mut Rng, key: impl Fn(&mut Rng) -> u32) -> [u32; N] {
        let shelf = Self::of(key(rng));
        [(); N].map(|()| {
            loop {
                let key = key(rng);
                if Self::of(key) == shelf {
                    return key;
                }
            }
        })
    }
}

pub(crate) struct Shelves([Region<str, u64>; 3]);

impl Shelves {
    pub(crate) fn of(cache: &Cache) -> Self {
        Self(Shelf::ALL.map(|shelf| {
            let region = cache
                .region::<str, u64>(shelf.name())
                .lease(Duration::from_millis(500))
                .load_timeout(Duration::from_secs(10));
            let second = Duration::from_secs(1);
            let region = match shelf {
                Shelf::Stock => region,
                Shelf::Kept => region.stale_if_error(60 * second),
                Shelf::Due => region
                    .time_to_live(Duration::from_millis(300))
                    .refresh_ahead(0.5)
                    .stale_while_revalidate(second)
                    .stale_if_error(second),
            };
            region.build().unwrap()
        }))
    }

    pub(crate) fn get(&self, shelf: Shelf) -> &Region<str, u64> {
        &self.0[shelf as usize]
    }
}

#[test]
fn many_keys_of_one_call_are_on_one_shelf_and_each_shelf_has_some() {
    let mut rng = Rng::with_seed(7);
    for _ in 0..100 {
        let keys: [u32; 8] = Shelf::some(&mut rng, |rng| rng.u32(..KEYS));
        assert!(keys.iter().all(|key| Shelf::of(*key) == Shelf::of(keys[0])));
    }
    for shelf in Shelf::ALL {
        assert!((0..16).filter(|key| Shelf::of(*key) == shelf).count() > 1);
        assert!((16..36).filter(|key| Shelf::of(*key) == shelf).count() > 2);
    }
}
