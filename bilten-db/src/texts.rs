//! What was read in SQL texts that come again and again, so that they need not be read each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::access::Access;

const PLACES: usize = 1024;
/// A longer text is read each time, so that all places together take no more than 2 MiB.
const LONGEST: usize = 2048;
/// One in so many texts that find no place takes one from another.
const PATIENCE: u32 = 64;

/// The texts, each in one of two places that its hash names.
///
/// A text is kept when it comes a second time: those with values in them, which come once, push nobody out and allocate
/// nothing. A text is compared as a whole, so one that has the hash of another is only read again.
#[derive(Debug)]
pub(crate) struct Texts {
    places: Box<[Place]>,
}

#[derive(Debug, Default)]
struct Place {
    /// The hash of the last text that came here in vain.
    asked: AtomicU64,
    text: ArcSwapOption<Text>,
}

#[derive(Debug)]
struct Text {
    hash: u64,
    sql: Box<str>,
    access: Access,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| Place::default()).collect(),
        }
    }
}

impl Texts {
    /// What is known of `sql`, or what `read` finds in it.
    pub(crate) fn access(&self, sql: &str, read: impl FnOnce() -> Access) -> Access {
        if sql.len() > LONGEST {
            return read();
        }
        let hash = hash(sql.as_bytes());
        let places = self.places_of(hash);
        for place in places {
            let kept = place.text.load();
            if let Some(text) = &*kept
                && text.hash == hash
                && *text.sql == *sql
            {
                return text.access;
            }
        }
        let access = read();
        self.note(places, hash, sql, access);
        access
    }

    /// Everything is read again.
    pub(crate) fn forget(&self) {
        self.places.iter().for_each(|place| place.text.store(None));
    }

    fn places_of(&self, hash: u64) -> [&Place; 2] {
        let [.., a, b, c, d] = hash.to_le_bytes();
        let at = |bits| &self.places[usize::from(u16::from_le_bytes(bits)) % PLACES];
        [at([a, b]), at([c, d])]
    }

    fn note(&self, [first, second]: [&Place; 2], hash: u64, sql: &str, access: Access) {
        if first.asked.swap(hash, Ordering::Relaxed) != hash {
            return;
        }
        let is_free = |place: &&Place| place.text.load().is_none();
        let free = [first, second].into_iter().find(is_free);
        let taken = || (fastrand::u32(..PATIENCE) == 0).then_some(first);
        if let Some(place) = free.or_else(taken) {
            let sql = Box::from(sql);
            place.text.store(Some(Arc::new(Text { hash, sql, access })));
        }
    }
}

/// Quick, and no secret: a text that was made to have the hash of another gains nothing by it.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(FACTOR);
    let mut words = bytes.chunks_exact(8);
    let whole = words.by_ref().fold(bytes.len() as u64, |hash, word| {
        mix(hash, word.try_into().map_or(0, u64::from_le_bytes))
    });
    let rest = words.remainder().iter();
    let rest = rest.fold(0, |rest: u64, byte| (rest << 8) | u64::from(*byte));
    let hash = mix(whole, rest);
    (hash ^ (hash >> 29)).wrapping_mul(FACTOR)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_text_that_comes_again_is_read_no_more() {
        let texts = Texts::default();
        let times = Cell::new(0);
        let access = |sql: &str, access| {
            texts.access(sql, || {
                times.set(times.get() + 1);
                access
            })
        };
        let other = "select 1 for update";
        for _ in 0..50 {
            assert_eq!(access("select 1", Access::Read), Access::Read);
            assert_eq!(access(other, Access::Write), Access::Write);
        }
        assert!(times.get() <= 4, "{times:?}: each twice");
        texts.forget();
        times.set(0);
        assert_eq!(access("select 1", Access::Write), Access::Write);
        assert_eq!(times.get(), 1, "nothing is known any more");
    }

    #[test]
    fn texts_that_come_once_allocate_nothing() {
        let texts = Texts::default();
        let once: Vec<_> = (0..10_000).map(|n| format!("select {n}")).collect();
        let all = || {
            let reads = once
                .iter()
                .filter(|sql| texts.access(sql, || Access::Read) == Access::Read);
            reads.count()
        };
        // What a thread needs for itself is made at the first look.
        assert_eq!(texts.access("select", || Access::Read), Access::Read);
        let mut reads = 0;
        let counted = allocation_counter::measure(|| reads = all());
        assert_eq!((reads, counted.count_total), (once.len(), 0));
    }

    #[test]
    fn memory_is_bounded_and_no_text_is_taken_for_another() {
        let texts = Texts::default();
        let text = |n: usize| format!("select {n} {}", "x".repeat(n % 3 * LONGEST / 2));
        let access = |n: usize| [Access::Read, Access::Write][n % 2];
        for n in 0..5 * PLACES {
            for _ in 0..3 {
                assert_eq!(texts.access(&text(n), || access(n)), access(n));
            }
        }
        let kept = texts
            .places
            .iter()
            .filter_map(|place| place.text.load_full());
        let lengths: Vec<_> = kept.map(|text| text.sql.len()).collect();
        assert!(lengths.len() > PLACES / 2 && lengths.len() <= PLACES);
        assert!(lengths.iter().all(|length| *length <= LONGEST));
    }

    #[test]
    fn texts_are_spread_over_all_places() {
        let texts = Texts::default();
        for n in 0..4 * PLACES {
            let sql = format!("SELECT \"t{n}\".\"id\" FROM \"t{n}\"");
            assert_eq!(
                [0; 2].map(|_| texts.access(&sql, || Access::Read)),
                [Access::Read; 2]
            );
        }
        let kept = texts
            .places
            .iter()
            .filter(|place| place.text.load().is_some());
        let kept = kept.count();
        assert!(kept > PLACES * 9 / 10, "{kept}");
    }
}
