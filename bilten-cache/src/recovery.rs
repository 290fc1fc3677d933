use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::remote::{Demand, Scope};

/// Invalidations that wait for the second level; more than these collapse into one `clear`.
const LIMIT: usize = 10_000;
/// The bit in the number of one that was postponed.
const POSTPONED: u64 = 1 << 63;

/// Invalidations that the second level does not know yet. Never values: those load again.
///
/// What is waiting here must not be read from the second level, where the old value may still be.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    queue: Mutex<Queue>,
    /// So that the usual case, nothing waiting, costs one relaxed load.
    waiting: AtomicUsize,
    /// How often more waited than there is room for.
    collapses: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    order: BTreeMap<u64, Change>,
    keys: HashMap<Arc<str>, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    scope: Scope,
    /// What loads must reflect after it. Of several that meet here one is enough: when it is delivered it takes in all that this process
    /// knows.
    after: Option<Demand>,
}

/// One invalidation out of the queue; it stays in force until [`Recovery::done`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    number: u64,
    pub(crate) scope: Scope,
    pub(crate) after: Option<Demand>,
}

impl Recovery {
    /// Queues an invalidation, after which loads must reflect `after`.
    pub(crate) fn push(&self, scope: Scope, after: Option<Demand>) {
        let mut queue = self.queue();
        if queue.push(Change { scope, after }) {
            self.collapses.fetch_add(1, Ordering::Relaxed);
        }
        self.waiting.store(queue.order.len(), Ordering::Release);
    }

    /// Whether the second level may still hold an old value of this key.
    pub(crate) fn covers(&self, key: &str) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 && self.queue().covers(key)
    }

    /// The first of them, at most so many.
    pub(crate) fn oldest(&self, count: usize) -> Vec<Pending> {
        let queue = self.queue();
        let oldest = queue.order.iter().take(count);
        let pending = oldest.map(|(number, change)| Pending {
            number: *number,
            scope: change.scope.clone(),
            after: change.after.clone(),
        });
        pending.collect()
    }

    /// Puts it behind all others, those that come later too, unless a newer one has taken its place.
    pub(crate) fn postpone(&self, pending: &Pending) {
        self.queue().postpone(pending.number);
    }

    /// The second level has it. A newer invalidation of the same key stays.
    pub(crate) fn done(&self, pending: &Pending) {
        let mut queue = self.queue();
        queue.remove(pending.number);
        self.waiting.store(queue.order.len(), Ordering::Release);
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether something waits that was not postponed.
    pub(crate) fn has_news(&self) -> bool {
        let postponed = |number: &u64| number & POSTPONED != 0;
        self.len() > 0 && !self.queue().order.keys().next().is_some_and(postponed)
    }

    /// How often more waited than there is room for, and became one `clear`.
    pub(crate) fn collapses(&self) -> u64 {
        self.collapses.load(Ordering::Relaxed)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether there was no room for it.
    fn push(&mut self, mut change: Change) -> bool {
        let number = self.next;
        self.next += 1;
        let is_full = self.order.len() >= LIMIT && change.scope != Scope::All;
        if is_full || change.scope == Scope::All {
            let mut demands = self.order.values().filter_map(|older| older.after.clone());
            let after = change.after.or_else(|| demands.next());
            self.order.clear();
            self.keys.clear();
            let scope = Scope::All;
            self.order.insert(number, Change { scope, after });
            return is_full;
        }
        let older = change
            .scope
            .key()
            .and_then(|key| self.keys.insert(Arc::clone(key), number));
        if let Some(older) = older.and_then(|older| self.order.remove(&older)) {
            change.after = change.after.or(older.after);
            // What was to be removed must not live on as a stale value.
            if matches!(older.scope, Scope::Key(_)) {
                change.scope = older.scope;
            }
        }
        self.order.insert(number, change);
        false
    }

    fn covers(&self, key: &str) -> bool {
        self.keys.contains_key(key)
            || self.order.len() > self.keys.len()
                && self.order.values().any(|change| match &change.scope {
                    Scope::Key(_) | Scope::Expired(_) => false,
                    Scope::Pattern(pattern) => pattern.matches(key),
                    // The tags of what the store holds are not known before it is read.
                    Scope::Tag(_) | Scope::Tags(_) | Scope::All => true,
                })
    }

    fn postpone(&mut self, number: u64) {
        let Some(change) = self.order.remove(&number) else {
            return;
        };
        let last = self.next | POSTPONED;
        self.next += 1;
        if let Some(key) = change.scope.key() {
            self.keys.insert(Arc::clone(key), last);
        }
        self.order.insert(last, change);
    }

    fn remove(&mut self, number: u64) {
        if let Some(change) = self.order.remove(&number)
            && let Some(key) = change.scope.key()
            && self.keys.get(key) == Some(&number)
        {
            self.keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    fn front(recovery: &Recovery) -> Option<Pending> {
        recovery.oldest(1).pop()
    }

    fn key(name: &str) -> Scope {
        Scope::Key(name.into())
    }

    #[test]
    fn what_waits_is_in_force_until_it_is_done() {
        let recovery = Recovery::default();
        assert!(!recovery.covers("event:1"));
        recovery.push(key("event:1"), None);
        assert!(recovery.covers("event:1") && !recovery.covers("event:2"));
        let first = front(&recovery).unwrap();
        assert!(
            recovery.covers("event:1"),
            "still in force while it is under way"
        );
        recovery.done(&first);
        assert!(!recovery.covers("event:1"));
        assert_eq!(front(&recovery), None);
    }

    #[test]
    fn the_oldest_come_first() {
        let recovery = Recovery::default();
        for name in ["event:1", "event:2", "event:3"] {
            recovery.push(key(name), None);
        }
        let scopes = |pending: Vec<Pending>| pending.into_iter().map(|pending| pending.scope);
        let oldest = recovery.oldest(2);
        assert!(scopes(oldest).eq([key("event:1"), key("event:2")]));
    }

    #[test]
    fn what_was_postponed_comes_last_and_still_gives_way_to_a_newer_one() {
        let recovery = Recovery::default();
        for name in ["event:1", "event:2"] {
            recovery.push(key(name), None);
        }
        let first = front(&recovery).unwrap();
        recovery.postpone(&first);
        recovery.push(key("event:3"), None);
        assert!(recovery.covers("event:1") && recovery.has_news());
        let order = recovery.oldest(9).into_iter().map(|pending| pending.scope);
        assert!(order.eq(["event:2", "event:3", "event:1"].map(key)));
        recovery.done(&front(&recovery).unwrap());
        recovery.push(key("event:1"), None);
        recovery.done(&first);
        recovery.postpone(&first);
        assert_eq!(recovery.len(), 2, "it stands for the newer one");
        for pending in recovery.oldest(9) {
            recovery.postpone(&pending);
        }
        assert!(!recovery.has_news());
        recovery.done(&front(&recovery).unwrap());
        recovery.done(&front(&recovery).unwrap());
        assert!(!recovery.covers("event:1") && recovery.len() == 0);
    }

    #[test]
    fn a_second_invalidation_meanwhile_is_not_lost() {
        let recovery = Recovery::default();
        recovery.push(key("event:1"), None);
        let first = front(&recovery).unwrap();
        recovery.push(key("event:1"), None);
        recovery.done(&first);
        assert!(recovery.covers("event:1"));
        assert_eq!(recovery.len(), 1);
    }

    #[test]
    fn an_expiry_after_a_removal_leaves_it_a_removal() {
        let recovery = Recovery::default();
        recovery.push(key("event:1"), None);
        recovery.push(Scope::Expired("event:1".into()), None);
        assert_eq!(front(&recovery).unwrap().scope, key("event:1"));
        assert_eq!(recovery.len(), 1);
        recovery.push(Scope::Expired("event:2".into()), None);
        recovery.push(key("event:2"), None);
        recovery.done(&front(&recovery).unwrap());
        assert_eq!(front(&recovery).unwrap().scope, key("event:2"));
    }

    #[test]
    fn demands_wait_with_their_changes_and_none_is_forgotten() {
        let (recovery, one) = (Recovery::default(), Demand::of("1"));
        recovery.push(key("event:1"), Some(one.clone()));
        recovery.push(key("event:1"), None);
        assert_eq!(front(&recovery).unwrap().after, Some(one.clone()));
        recovery.push(Scope::All, None);
        assert_eq!(front(&recovery).unwrap().after, Some(one));
    }

    #[test]
    fn wide_scopes_cover_what_they_take() {
        let recovery = Recovery::default();
        recovery.push(
            Scope::Pattern(Pattern::glob("events:list:*").unwrap()),
            None,
        );
        assert!(recovery.covers("events:list:1") && !recovery.covers("event:1"));
        recovery.push(Scope::Tag("berlin".into()), None);
        assert!(recovery.covers("event:1"));
    }

    #[test]
    fn an_overflow_collapses_into_one_clear() {
        let recovery = Recovery::default();
        for n in 0..=LIMIT {
            recovery.push(key(&n.to_string()), None);
        }
        assert_eq!((recovery.len(), recovery.collapses()), (1, 1));
        recovery.push(Scope::All, None);
        assert_eq!(recovery.collapses(), 1, "that was asked for");
        assert_eq!(front(&recovery).unwrap().scope, Scope::All);
        assert!(recovery.covers("anything"));
    }
}
