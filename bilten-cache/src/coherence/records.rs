//! What a record of the log, or a snapshot of all of it, changes in this node's view.

use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLockWriteGuard};

use super::{Changes, Coherence, Markers, View};
use crate::remote::{Position, Record, Scope, Snapshot};

/// What a record asks for beyond a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    DropKey(Arc<str>),
    ExpireKey(Arc<str>),
    /// Records are missing in between: what they said is not known.
    Gap,
    /// It follows another record than the one that was applied: an older copy took over and has gone on.
    OtherLog,
}

impl Coherence {
    /// Invalidates a scope where there is no shared log.
    pub(crate) fn mark_here(&self, scope: &Scope) {
        let mut view = self.write();
        view.applied += 1;
        let position = view.applied;
        self.seen.store(position, Ordering::Release);
        self.mark(&mut view, scope, position);
        self.settled.store(position, Ordering::Release);
    }

    /// Takes note of a record of our own. `false`: the log is not the one we knew, everything is in doubt.
    pub(crate) fn acknowledge(&self, scope: &Scope, position: Position) -> bool {
        let mut view = self.write();
        // Under the lock: a snapshot of another log must not come between this look and the position below.
        if position.incarnation != self.incarnation() {
            self.doubt_in(&view);
            return false;
        }
        self.take_in(&mut view, scope, position.number);
        self.note_own(&mut view, position.number);
        true
    }

    /// Applies one record of the log.
    pub(crate) fn apply(&self, record: &Record) -> Effect {
        let mut view = self.write();
        if record.number <= view.applied {
            return Effect::Nothing;
        }
        if record.number != view.applied + 1 {
            return Effect::Gap;
        }
        let known = view
            .stamp
            .filter(|stamp| *stamp != 0 && record.follows != 0);
        if known.is_some_and(|stamp| stamp != record.follows) {
            return Effect::OtherLog;
        }
        view.advance(record.number);
        view.stamp = Some(record.stamp);
        if let (Some(scope), Some(demand)) = (&record.scope, &record.demand) {
            view.demands.add(scope, demand);
            self.seen.fetch_max(record.number, Ordering::AcqRel);
            return Effect::Nothing;
        }
        // A record nobody can read may have been about anything.
        self.take_in(
            &mut view,
            record.scope.as_ref().unwrap_or(&Scope::All),
            record.number,
        );
        self.seen.fetch_max(record.number, Ordering::AcqRel);
        match &record.scope {
            Some(Scope::Key(key)) if record.node != self.node => Effect::DropKey(key.clone()),
            Some(Scope::Expired(key)) if record.node != self.node => Effect::ExpireKey(key.clone()),
            _ => Effect::Nothing,
        }
    }

    /// Whether the record we applied last is still the one that stands there, as far as anybody can tell.
    pub(crate) fn recognises(&self, stamp: Option<u64>) -> bool {
        let mut view = self.write();
        let known = view.stamp.is_none() || stamp.is_none() || view.stamp == stamp;
        view.stamp = view.stamp.or(stamp);
        known
    }

    /// Starts again from a snapshot that was asked for when there were `doubts` doubts. Everything in L1 is void.
    pub(crate) fn adopt(&self, snapshot: &Snapshot, doubts: u64) {
        let mut view = self.write();
        if snapshot.position.incarnation != self.incarnation() {
            self.begin_anew(&mut view, snapshot.position, 0);
        }
        self.adopt_in(view, snapshot, doubts);
    }

    /// The same of an older copy, for who only reads: it may begin no new log, and those who write may never do. What the copy brought back
    /// it cannot tell from the rest, so nothing counts that was stored before the copy goes on.
    pub(crate) fn adopt_older(&self, snapshot: &Snapshot, doubts: u64) {
        let mut view = self.write();
        // On a cluster the values of other primaries did not go back, and what was said of them is forgotten with the rest.
        let newest = self.seen().max(snapshot.position.number);
        let next = newest.saturating_add(1);
        self.begin_anew(&mut view, snapshot.position, next);
        self.adopt_in(view, snapshot, doubts);
    }

    /// Whether an older copy may have brought a value back that follows this record.
    pub(crate) fn may_be_brought_back(&self, position: u64) -> bool {
        position < self.floor.load(Ordering::Acquire)
    }

    fn begin_anew(&self, view: &mut View, position: Position, floor: u64) {
        if position.incarnation != self.incarnation() {
            self.leave(view);
        }
        view.markers = Markers::default();
        view.changes = Changes::default();
        view.ahead.clear();
        self.floor.store(floor, Ordering::Release);
        self.seen.store(position.number, Ordering::Release);
    }

    fn adopt_in(&self, mut view: RwLockWriteGuard<'_, View>, snapshot: &Snapshot, doubts: u64) {
        let Position {
            incarnation,
            number,
        } = snapshot.position;
        self.renewed();
        for (scope, position) in &snapshot.markers {
            view.markers.mark(scope, *position);
        }
        if snapshot.cut_short {
            view.markers.were_cut_short();
        }
        for demand in &snapshot.demands {
            view.demands.add(&Scope::All, demand);
        }
        view.advance(number);
        view.stamp = snapshot.stamp;
        self.seen.fetch_max(number, Ordering::AcqRel);
        self.announce(number);
        self.incarnation.store(incarnation, Ordering::Release);
        self.void();
        let unchanged = self.doubts.load(Ordering::Acquire) == doubts;
        self.synced.store(unchanged, Ordering::Release);
        self.confirm();
    }

    /// The view is wrong: nothing in L1 or L2 is trusted until the next snapshot.
    pub(crate) fn doubt(&self) {
        let view = self.write();
        self.doubt_in(&view);
    }

    pub(super) fn doubt_in(&self, _: &View) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
        self.synced.store(false, Ordering::Release);
        self.void();
    }

    /// Forgets markers that no living entry can be older than. What is not yet there is no position of this log.
    pub(crate) fn prune(&self, position: u64) {
        let mut view = self.write();
        if position <= view.applied {
            view.markers.prune(position);
        }
    }

    fn void(&self) {
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.flushed.fetch_max(generation, Ordering::AcqRel);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn mark(&self, view: &mut View, scope: &Scope, position: u64) {
        if scope.key().is_none() {
            view.markers.mark(scope, position);
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;
    use crate::clock::NEVER;
    use crate::entry::Began;

    fn lists() -> Scope {
        Scope::Pattern(Pattern::glob("events:list:*").unwrap())
    }

    fn shared() -> Coherence {
        let coherence = Coherence::new(1, Some(NEVER));
        coherence.adopt(&Snapshot::new(Position::new(9, 10), 0, vec![]), 0);
        coherence
    }

    #[test]
    fn a_write_an_invalidation_and_a_write_in_one_instant_end_as_they_should() {
        let coherence = Coherence::new(1, None);
        let before = coherence.begin();
        coherence.mark_here(&lists());
        let after = coherence.begin();
        assert!(!coherence.is_valid("events:list:1", [], before));
        assert!(coherence.is_valid("events:list:1", [], after));
        assert!(coherence.is_valid("events:detail:1", [], before));
    }

    #[test]
    fn a_tag_that_is_known_only_after_the_load_still_counts() {
        let coherence = Coherence::new(1, None);
        let began = coherence.begin();
        coherence.mark_here(&Scope::Tag("berlin".into()));
        assert!(!coherence.is_valid("event:1", [&"berlin".into()], began));
        assert!(coherence.is_valid("event:1", [&"paris".into()], began));
        assert!(!coherence.may_join("event:1", began));
    }

    #[test]
    fn a_record_is_applied_once_and_a_hole_is_a_gap() {
        let coherence = shared();
        let record = |number| Record::new(number, 2, Some(Scope::Key("event:1".into())));
        assert_eq!(
            coherence.apply(&record(11)),
            Effect::DropKey("event:1".into())
        );
        assert_eq!(coherence.apply(&record(11)), Effect::Nothing);
        assert_eq!(coherence.apply(&record(13)), Effect::Gap);
        assert_eq!(coherence.applied(), 11);
    }

    #[test]
    fn a_record_that_follows_another_one_is_of_another_log() {
        let coherence = shared();
        let record = |number, stamp, follows| {
            Record::new(number, 2, Some(Scope::All))
                .stamped(stamp)
                .following(follows)
        };
        assert_eq!(
            coherence.apply(&record(11, 7, 5)),
            Effect::Nothing,
            "nobody knows"
        );
        assert_eq!(coherence.apply(&record(12, 8, 7)), Effect::Nothing);
        assert_eq!(coherence.apply(&record(13, 9, 7)), Effect::OtherLog);
        assert_eq!(coherence.applied(), 12);
        assert_eq!(
            coherence.apply(&record(13, 9, 0)),
            Effect::Nothing,
            "of an older version"
        );
    }

    #[test]
    fn our_own_records_drop_nothing() {
        let coherence = shared();
        assert_eq!(
            coherence.apply(&Record::new(11, 1, Some(Scope::Key("event:1".into())))),
            Effect::Nothing
        );
    }

    #[test]
    fn a_record_that_nobody_can_read_counts_as_everything() {
        let coherence = shared();
        let began = coherence.begin();
        coherence.apply(&Record::new(11, 2, None));
        assert!(!coherence.is_valid("event:1", [], began));
    }

    #[test]
    fn another_incarnation_puts_everything_in_doubt() {
        let coherence = shared();
        let began = coherence.begin();
        assert!(!coherence.acknowledge(&Scope::All, Position::new(8, 11)));
        assert!(!coherence.is_synced());
        assert!(!coherence.is_valid("event:1", [], began));
    }

    #[test]
    fn a_snapshot_asked_for_before_a_doubt_does_not_settle_it() {
        let coherence = shared();
        let asked = coherence.doubts();
        coherence.doubt();
        coherence.adopt(&Snapshot::new(Position::new(9, 12), 0, vec![]), asked);
        assert!(!coherence.is_synced());
        coherence.adopt(
            &Snapshot::new(Position::new(9, 12), 0, vec![]),
            coherence.doubts(),
        );
        assert!(coherence.is_synced());
    }

    #[test]
    fn a_snapshot_never_forgets_a_marker_of_our_own() {
        let coherence = shared();
        let began = coherence.begin();
        coherence.acknowledge(&lists(), Position::new(9, 12));
        coherence.adopt(&Snapshot::new(Position::new(9, 11), 0, vec![]), 0);
        let old = Began {
            generation: coherence.begin().generation,
            ..began
        };
        assert!(!coherence.is_valid("events:list:1", [], old));
    }
}
