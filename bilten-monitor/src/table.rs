//! A table that only grows, up to a fixed number of entries, and is read without a lock.

use std::hash::Hasher as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rapidhash::fast::RapidHasher;

/// Open addressing with linear probing over write-once slots.
///
/// At most half of the slots are ever used, so a probe ends soon; a slot never changes once it is set, so a
/// reader needs no lock and an entry lives as long as the table. That is all a bounded set of labels needs.
pub(crate) struct Table<T> {
    slots: Box<[Slot<T>]>,
    capacity: usize,
    used: Mutex<usize>,
}

/// An entry with its hash, once it is there.
type Slot<T> = OnceLock<(u64, Arc<T>)>;

impl<T> Table<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let slots = (capacity.max(1) * 2).next_power_of_two();
        Self {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            capacity,
            used: Mutex::new(0),
        }
    }

    /// The entry with this hash that `same` accepts.
    pub(crate) fn find(&self, hash: u64, same: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        for slot in self.probe(hash) {
            let (stored, entry) = slot.get()?;
            if *stored == hash && same(entry) {
                return Some(entry);
            }
        }
        None
    }

    /// The entry, made when it is not there yet; `None` when the table is full.
    pub(crate) fn find_or_insert(
        &self,
        hash: u64,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Option<&Arc<T>> {
        if let Some(entry) = self.find(hash, &same) {
            return Some(entry);
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have inserted it while this one waited for the lock.
        if let Some(entry) = self.find(hash, &same) {
            return Some(entry);
        }
        if *used >= self.capacity {
            return None;
        }
        let slot = self.probe(hash).find(|slot| slot.get().is_none())?;
        *used += 1;
        Some(&slot.get_or_init(|| (hash, Arc::new(make()))).1)
    }

    /// Every entry, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.slots
            .iter()
            .filter_map(|slot| slot.get().map(|(_, entry)| entry))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the mask keeps the low bits only"
    )]
    fn probe(&self, hash: u64) -> impl Iterator<Item = &Slot<T>> {
        let mask = self.slots.len() - 1;
        let start = hash as usize;
        (0..self.slots.len())
            .filter_map(move |step| self.slots.get(start.wrapping_add(step) & mask))
    }
}

impl<T> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// The hash of a short text, by the hasher that the metrics facade uses for its own keys.
pub(crate) fn hash_text(text: &str) -> u64 {
    let mut hasher = RapidHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The hash of a number.
pub(crate) fn hash_number(number: u64) -> u64 {
    let mut hasher = RapidHasher::default();
    hasher.write_u64(number);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put<'a>(table: &'a Table<String>, text: &str) -> Option<&'a Arc<String>> {
        table.find_or_insert(hash_text(text), |entry| entry == text, || text.to_owned())
    }

    #[test]
    fn an_entry_is_made_once() {
        let table = Table::new(4);
        let first = Arc::clone(put(&table, "a").expect("room"));
        assert!(Arc::ptr_eq(&first, put(&table, "a").expect("found")));
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn a_full_table_still_finds_what_it_has() {
        let table = Table::new(2);
        assert!(put(&table, "a").is_some());
        assert!(put(&table, "b").is_some());
        assert!(put(&table, "c").is_none());
        assert!(put(&table, "a").is_some());
        assert!(table.find(hash_text("c"), |entry| entry == "c").is_none());
    }

    #[test]
    fn equal_hashes_do_not_mix_entries_up() {
        let table = Table::new(8);
        for text in ["a", "b", "c"] {
            table.find_or_insert(7, |entry| *entry == text, || text);
        }
        assert_eq!(
            table.find(7, |entry| *entry == "c").map(|entry| **entry),
            Some("c")
        );
        assert!(table.find(7, |entry| *entry == "d").is_none());
    }

    #[test]
    fn threads_racing_for_one_entry_get_the_same_one() {
        let table = Table::new(64);
        let barrier = std::sync::Barrier::new(4);
        let entries: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        Arc::clone(put(&table, "raced").expect("room"))
                    })
                })
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().expect("joined"))
                .collect()
        });
        assert!(
            entries
                .windows(2)
                .all(|pair| Arc::ptr_eq(&pair[0], &pair[1]))
        );
        assert_eq!(table.iter().count(), 1);
    }
}
