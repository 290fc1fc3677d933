use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::ops::compute::Op;

use crate::clock::{Clock, NEVER};
use crate::entry::Entry;

type Store = moka::sync::Cache<Arc<str>, Arc<Entry>, foldhash::fast::RandomState>;

/// L1: the entries of all regions in one budget of bytes.
///
/// moka only stores and evicts here. Whether an entry may be served is decided by [`Entry`] and the
/// log; moka's expiry merely gives the bytes of dead entries back.
#[derive(Debug)]
pub(crate) struct Memory {
    store: Store,
}

impl Memory {
    pub(crate) fn new(bytes: u64, clock: Clock) -> Self {
        let store = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, entry: &Arc<Entry>| entry.weight)
            .expire_after(Death(clock))
            .build_with_hasher(foldhash::fast::RandomState::default());
        Self { store }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.store.get(key)
    }

    /// Inserts an entry if `allowed` still says so while nobody else touches this key.
    pub(crate) fn insert_if(
        &self,
        key: &Arc<str>,
        entry: Arc<Entry>,
        allowed: impl FnOnce() -> bool,
    ) -> bool {
        let mut inserted = false;
        self.store.entry_by_ref(key).and_compute_with(|_| {
            inserted = allowed();
            if inserted { Op::Put(entry) } else { Op::Nop }
        });
        inserted
    }

    /// Removes a key under the same lock under which it is inserted.
    pub(crate) fn remove(&self, key: &Arc<str>) {
        self.store
            .entry_by_ref(key)
            .and_compute_with(|there| if there.is_some() { Op::Remove } else { Op::Nop });
    }

    /// Makes a key stale under the same lock, so that no fill slips in between.
    pub(crate) fn expire(&self, key: &Arc<str>) {
        self.store.entry_by_ref(key).and_compute_with(|there| {
            if let Some(entry) = there {
                entry.value().expire();
            }
            Op::Nop
        });
    }

    /// Gives the memory back; that nothing is served any more is the log's business.
    pub(crate) fn clear(&self) {
        self.store.invalidate_all();
    }

    pub(crate) fn entries(&self) -> u64 {
        self.store.run_pending_tasks();
        self.store.entry_count()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.store.weighted_size()
    }
}

#[derive(Debug)]
struct Death(Clock);

impl Death {
    fn after(&self, entry: &Entry) -> Option<Duration> {
        let left = entry.kept_until.saturating_sub(self.0.now());
        (left < NEVER / 2).then(|| Duration::from_nanos(left))
    }
}

impl Expiry<Arc<str>, Arc<Entry>> for Death {
    fn expire_after_create(
        &self,
        _: &Arc<str>,
        entry: &Arc<Entry>,
        _: Instant,
    ) -> Option<Duration> {
        self.after(entry)
    }

    fn expire_after_update(
        &self,
        _: &Arc<str>,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.after(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Began, Life};

    fn entry(weight: u32) -> Arc<Entry> {
        let life = Life {
            known_at: 0,
            fresh_until: NEVER,
            due_from: NEVER,
            ends: i64::MAX,
            kept_until: NEVER,
            load_time: 0,
            created_millis: 0,
            weight,
        };
        let began = Began {
            position: 0,
            generation: 0,
            incarnation: 0,
        };
        let entry = Entry::new(Arc::new(1_u8), Box::default(), began, life);
        Arc::new(entry)
    }

    #[test]
    fn a_gigabyte_of_inserts_stays_within_the_budget() {
        let memory = Memory::new(1 << 20, Clock::system());
        for n in 0..16_384_u32 {
            memory.insert_if(&Arc::from(n.to_string()), entry(65_536), || true);
        }
        assert!(memory.entries() <= 16);
        assert!(memory.bytes() <= 1 << 20);
    }

    #[test]
    fn a_refused_insert_leaves_what_was_there() {
        let memory = Memory::new(1 << 20, Clock::system());
        let key: Arc<str> = "a".into();
        assert!(memory.insert_if(&key, entry(1), || true));
        assert!(!memory.insert_if(&key, entry(2), || false));
        assert_eq!(memory.get("a").unwrap().weight, 1);
        memory.remove(&key);
        assert!(memory.get("a").is_none());
    }
}
