//! What the log said about single keys, for what a fail-over brings back.
//!
//! On a cluster the log outlives the primary of a value: a new one that never had a removal hands the old value out, and nothing
//! of the log tells. So this process remembers by itself which keys were changed lately.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::{Coherence, View};
use crate::remote::Scope;

/// Changes that are remembered, 4.5 MB at most. Older ones are forgotten: what was lost of them lives until its time to live ends.
const MAX_CHANGES: usize = 65_536;

/// The newest records about a key; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// What follows an older record than this is gone.
    pub(crate) removed: u64,
    /// What follows an older record than this is no longer fresh.
    pub(crate) expired: u64,
}

impl Changed {
    pub(super) fn newest(self) -> u64 {
        self.removed.max(self.expired)
    }
}

/// By the hash of the key: of two that share one, each counts as changed with the other, which costs a miss.
#[derive(Default)]
pub(super) struct Changes {
    hasher: RandomState,
    keys: HashMap<u64, Changed, RandomState>,
    /// In the order in which they were said; a key that was changed again stands here twice.
    said: VecDeque<(u64, u64)>,
}

impl Changes {
    /// Notes the record of a key. Wider scopes are markers.
    pub(super) fn note(&mut self, scope: &Scope, position: u64) {
        let Some(key) = scope.key() else { return };
        let key = self.hasher.hash_one(&**key);
        let known = self.keys.entry(key).or_default();
        let newest = match scope {
            Scope::Expired(_) => &mut known.expired,
            _ => &mut known.removed,
        };
        if *newest == position {
            // One of our own, which was acknowledged before it came with the log.
            return;
        }
        *newest = position.max(*newest);
        while self.said.len() >= MAX_CHANGES
            && let Some((key, position)) = self.said.pop_front()
        {
            let is_last = |known: &Changed| known.newest() <= position;
            if self.keys.get(&key).is_some_and(is_last) {
                self.keys.remove(&key);
            }
        }
        self.said.push_back((key, position));
    }

    pub(super) fn of(&self, key: &str) -> Changed {
        if self.keys.is_empty() {
            return Changed::default();
        }
        let known = self.keys.get(&self.hasher.hash_one(key));
        known.copied().unwrap_or_default()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

impl Coherence {
    /// What is known of the records of a key: a value of the second level that does not follow them was brought back by a fail-over.
    pub(crate) fn changed(&self, key: &str) -> Changed {
        self.read().changes.of(key)
    }

    #[cfg(feature = "test-util")]
    pub(crate) fn forgetting_changes(mut self, yes: bool) -> Self {
        self.forgets_changes = yes;
        self
    }

    /// Takes in one record of the log, whoever wrote it.
    pub(super) fn take_in(&self, view: &mut View, scope: &Scope, position: u64) {
        #[cfg(feature = "test-util")]
        if self.forgets_changes {
            return self.mark(view, scope, position);
        }
        view.changes.note(scope, position);
        self.mark(view, scope, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Scope {
        Scope::Key(name.into())
    }

    #[test]
    fn the_newest_record_of_a_key_counts_whenever_it_comes() {
        let mut changes = Changes::default();
        changes.note(&key("tea"), 7);
        changes.note(&Scope::Expired("tea".into()), 9);
        changes.note(&key("tea"), 5);
        changes.note(&Scope::All, 11);
        let due = Changed {
            removed: 7,
            expired: 9,
        };
        assert_eq!(changes.of("tea"), due);
        assert_eq!(changes.of("jam"), Changed::default());
    }

    #[test]
    fn a_record_of_our_own_takes_one_place_although_it_comes_twice() {
        let mut changes = Changes::default();
        for n in 1..10 {
            for scope in [key("tea"), Scope::Expired("jam".into())] {
                changes.note(&scope, n);
                changes.note(&scope, n);
            }
        }
        assert_eq!(changes.said.len(), 18);
    }

    #[test]
    fn the_oldest_changes_are_forgotten_and_no_key_that_changed_since() {
        let mut changes = Changes::default();
        changes.note(&key("once"), 1);
        changes.note(&key("again"), 2);
        for n in 3..u64::try_from(MAX_CHANGES).unwrap() + 3 {
            let name = if n == 9 {
                "again".to_owned()
            } else {
                n.to_string()
            };
            changes.note(&key(&name), n);
        }
        assert_eq!(changes.of("once"), Changed::default());
        assert_eq!(changes.of("again").removed, 9);
        assert!(changes.keys.len() <= MAX_CHANGES && changes.said.len() <= MAX_CHANGES);
    }
}
