//! Remembers what was found out about SQL texts: which ones looked like reads and turned out to write, and what was read in those
//! that come again and again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use sea_orm::DbBackend;

use crate::access::{Access, fingerprint};
use crate::texts::Texts;

/// More than this many different misread statements means generated SQL; then all is forgotten and learned anew.
const CAPACITY: usize = 1024;

/// Fingerprints of SQL texts that belong on the primary.
///
/// Two texts with the same fingerprint, as those that call one function with two values, only mean that one more statement
/// runs on the primary.
#[derive(Debug)]
pub(crate) struct Learned {
    backend: DbBackend,
    any: AtomicBool,
    fingerprints: RwLock<HashSet<u64>>,
    texts: Texts,
}

impl Learned {
    pub(crate) fn new(backend: DbBackend) -> Self {
        Self {
            backend,
            any: AtomicBool::new(false),
            fingerprints: RwLock::default(),
            texts: Texts::default(),
        }
    }

    /// What `sql` needs by what `read` finds in it, and by what was learned.
    pub(crate) fn access(&self, sql: &str, read: impl FnOnce() -> Access) -> Access {
        self.texts.access(sql, || match read() {
            Access::Read if self.contains(sql) => Access::Write,
            access => access,
        })
    }

    fn contains(&self, sql: &str) -> bool {
        self.any.load(Ordering::Acquire) && self.known().contains(&fingerprint(self.backend, sql))
    }

    pub(crate) fn insert(&self, sql: &str) {
        let mut known = self
            .fingerprints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CAPACITY {
            known.clear();
        }
        known.insert(fingerprint(self.backend, sql));
        drop(known);
        self.any.store(true, Ordering::Release);
        // After it. Whoever read a text before and keeps it only now has it refused and learned once more.
        self.texts.forget();
    }

    pub(crate) fn len(&self) -> usize {
        self.known().len()
    }

    fn known(&self) -> RwLockReadGuard<'_, HashSet<u64>> {
        self.fingerprints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned() -> Learned {
        Learned::new(DbBackend::Postgres)
    }

    #[test]
    fn only_what_was_learned_is_known() {
        let learned = learned();
        let access = |sql| learned.access(sql, || Access::Read);
        // Often enough to be kept.
        assert_eq!([0; 4].map(|_| access("select wr(1)")), [Access::Read; 4]);
        learned.insert("select wr(1) /*route='a'*/");
        assert_eq!(access("select wr(1)"), Access::Write);
        assert_eq!(access("select wr(2) -- with another value"), Access::Write);
        assert_eq!(access("select rd(1)"), Access::Read);
        assert_eq!(learned.len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let learned = learned();
        for n in 0..10 * CAPACITY {
            learned.insert(&format!("select wr_{n}()"));
        }
        assert!(learned.len() <= CAPACITY);
        assert!(learned.contains(&format!("select wr_{}()", 10 * CAPACITY - 1)));
    }
}
