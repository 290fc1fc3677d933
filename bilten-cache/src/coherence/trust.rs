//! Whether an entry or a load that is under way still counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Coherence;
use crate::clock::Nanos;
use crate::entry::{Began, Entry};

impl Coherence {
    /// Whether L1 may serve this entry. One relaxed load and one comparison, unless something was
    /// invalidated since the last look.
    pub(crate) fn trusts(&self, key: &str, entry: &Entry, now: Nanos) -> bool {
        let trusted_from = entry
            .known_at()
            .max(self.last_contact.load(Ordering::Relaxed));
        if now.saturating_sub(trusted_from) >= self.isolated_after {
            return false;
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        entry.was_checked_at(epoch) || self.check(key, entry, epoch)
    }

    /// The same for what can be seen at once: that nothing was invalidated since the last look.
    pub(crate) fn trusts_at_sight(&self, entry: &Entry, now: Nanos) -> bool {
        !self.is_isolated(now) && entry.was_checked_at(self.epoch.load(Ordering::Acquire))
    }

    #[cold]
    fn check(&self, key: &str, entry: &Entry, epoch: u64) -> bool {
        let valid = self.is_valid(key, entry.tags(), entry.began());
        if valid {
            entry.checked_at(epoch);
        }
        valid
    }

    /// Whether nothing that takes this key or its tags was invalidated since the value's read began.
    pub(crate) fn is_valid<'t>(
        &self,
        key: &str,
        tags: impl IntoIterator<Item = &'t Arc<str>, IntoIter: Clone>,
        began: Began,
    ) -> bool {
        let view = self.read();
        let tags = tags.into_iter();
        self.lives(&view, key, tags.clone(), began)
            && view.markers.newest_for(key, tags) <= began.position
    }

    /// Whether a value of the second level is dead: it belongs to another log, or was invalidated since.
    pub(crate) fn outdates(
        &self,
        key: &str,
        tags: &[Arc<str>],
        position: u64,
        incarnation: u64,
    ) -> bool {
        let view = self.read();
        incarnation != self.incarnation() || view.markers.newest_for(key, tags) > position
    }

    /// Why [`is_valid`](Self::is_valid) says no, in words, and at which position.
    pub(crate) fn decider(&self, key: &str, tags: &[Arc<str>], began: Began) -> (String, u64) {
        let view = self.read();
        if began.generation < self.flushed.load(Ordering::Acquire) {
            let by = "a gap in the log, after which all memory was given up";
            return (by.to_owned(), view.applied);
        }
        if view.local.newest_for(key, tags) > began.generation {
            let (by, _) = view.local.decider(key, tags);
            return (
                format!("{by}, which waits for the second level"),
                view.applied,
            );
        }
        view.markers.decider(key, tags)
    }

    /// Whether a caller that comes now may wait for a load that began then. Its tags are not known yet, so
    /// any tag counts.
    pub(crate) fn may_join(&self, key: &str, began: Began) -> bool {
        let view = self.read();
        began.generation >= self.flushed.load(Ordering::Acquire)
            && view.local.newest_for_load(key) <= began.generation
            && view.markers.newest_for_load(key) <= began.position
    }
}
