//! Invalidations of many keys that the second level does not know yet: here they are in force at once, and exactly.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Coherence, Markers, View};
use crate::entry::Began;
use crate::remote::Scope;

impl Coherence {
    /// Invalidates a scope that has no place in the log yet, for what this process has and loads. Comes after it was queued.
    pub(crate) fn mark_waiting(&self, scope: &Scope) {
        let mut view = self.write();
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        view.local.mark(scope, generation);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Once nothing `waits` any more, everything has its place in the log. Asked under the lock: what is queued now is marked after this.
    pub(crate) fn forget_waiting(&self, waits: impl FnOnce() -> bool) {
        if self.read().local.len() == 0 {
            return;
        }
        let mut view = self.write();
        if !waits() {
            view.local = Markers::default();
        }
    }

    /// Whether nothing voided a generation that takes this key or its tags.
    pub(super) fn lives<'t>(
        &self,
        view: &View,
        key: &str,
        tags: impl IntoIterator<Item = &'t Arc<str>, IntoIter: Clone>,
        began: Began,
    ) -> bool {
        began.generation >= self.flushed.load(Ordering::Acquire)
            && view.local.newest_for(key, tags) <= began.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;
    use crate::clock::NEVER;
    use crate::remote::{Position, Snapshot};

    #[test]
    fn what_waits_for_its_place_takes_what_it_says_and_what_began_before_it() {
        let coherence = Coherence::new(1, Some(NEVER));
        coherence.adopt(&Snapshot::new(Position::new(9, 10), 0, vec![]), 0);
        let before = coherence.begin();
        let lists = Scope::Pattern(Pattern::prefix("list:"));
        coherence.mark_waiting(&lists);
        coherence.mark_waiting(&Scope::Tag("hot".into()));
        let (after, hot) = (coherence.begin(), [Arc::from("hot")]);
        for (key, tags, began, due) in [
            ("list:1", &[][..], before, false),
            ("list:1", &[], after, true),
            ("other", &[], before, true),
            ("other", &hot, before, false),
            ("other", &hot, after, true),
        ] {
            let valid = coherence.is_valid(key, tags, began);
            assert_eq!(valid, due, "{key} {tags:?} {began:?}");
        }
        assert!(
            !coherence.may_join("other", before),
            "its tags are not known"
        );
        assert!(coherence.may_join("other", after));
        // Delivered, it has a place; what else waits stays in force.
        coherence.acknowledge(&lists, Position::new(9, 11));
        coherence.forget_waiting(|| true);
        assert!(!coherence.is_valid("other", &hot, before));
        coherence.forget_waiting(|| false);
        assert!(coherence.is_valid("other", &hot, before));
        assert!(!coherence.is_valid("list:1", [], before));
        coherence.doubt();
        assert!(!coherence.is_valid("other", [], after));
    }
}
