//! Remembers statements that looked like reads and turned out to write.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// More than this many different misread statements means generated SQL; then all is forgotten and learned anew.
const CAPACITY: usize = 1024;

/// Fingerprints of SQL texts that belong on the primary.
///
/// Two texts with the same fingerprint only mean that one more statement runs on the primary.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    any: AtomicBool,
    fingerprints: RwLock<HashSet<u64>>,
}

impl Learned {
    /// Costs one atomic load until the first statement is learned.
    pub(crate) fn contains(&self, sql: &str) -> bool {
        self.any.load(Ordering::Relaxed) && self.read().contains(&fingerprint(sql))
    }

    pub(crate) fn insert(&self, sql: &str) {
        let mut known = self.fingerprints.write().unwrap_or_else(|e| e.into_inner());
        if known.len() >= CAPACITY {
            known.clear();
        }
        known.insert(fingerprint(sql));
        self.any.store(true, Ordering::Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        self.read().len()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashSet<u64>> {
        self.fingerprints.read().unwrap_or_else(|e| e.into_inner())
    }
}

fn fingerprint(sql: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_learned_is_known() {
        let learned = Learned::default();
        assert!(!learned.contains("select wr()"));
        learned.insert("select wr()");
        assert!(learned.contains("select wr()"));
        assert!(!learned.contains("select rd()"));
    }

    #[test]
    fn memory_is_bounded() {
        let learned = Learned::default();
        for n in 0..10 * CAPACITY {
            learned.insert(&format!("select wr({n})"));
        }
        assert!(learned.len() <= CAPACITY);
        assert!(learned.contains(&format!("select wr({})", 10 * CAPACITY - 1)));
    }
}
