//! What this node knows of the log, and what that means for an entry.

mod demands;
mod load;
mod markers;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use self::demands::{Demands, Order};
use self::markers::Markers;
use crate::clock::{NEVER, Nanos};
use crate::entry::{Began, Entry};
use crate::remote::{Author, Position, Record, Scope, Snapshot};

/// This node's view of the log. No I/O: the tail of the log feeds it.
///
/// Without a second level it is the log: positions are counted here.
#[derive(Debug)]
pub(crate) struct Coherence {
    node: u64,
    isolated_after: Nanos,
    /// The highest position in any reply.
    seen: AtomicU64,
    /// Where the log stood when it was asked last.
    announced: AtomicU64,
    /// Rises with every marker and every flush: an entry checked at this epoch is still valid.
    epoch: AtomicU64,
    generation: AtomicU64,
    incarnation: AtomicU64,
    /// Rises whenever the view was found to be wrong, so that a snapshot asked for earlier does not count.
    doubts: AtomicU64,
    synced: AtomicBool,
    last_contact: AtomicU64,
    /// Milliseconds since 1970 by the store's clock, minus ours.
    server_offset: AtomicI64,
    view: RwLock<View>,
}

#[derive(Debug, Default)]
struct View {
    markers: Markers,
    applied: u64,
    /// The stamp of the record that was applied last, if it is known.
    stamp: Option<u64>,
    /// Records of our own beyond the one that was applied last.
    ahead: BTreeSet<u64>,
    /// What loads must reflect. Outlives the log: the source has no part in its end.
    demands: Demands,
}

/// What a record asks for beyond a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    DropKey(std::sync::Arc<str>),
    ExpireKey(std::sync::Arc<str>),
    /// Records are missing in between: what they said is not known.
    Gap,
}

impl Coherence {
    /// `isolated_after` is how long L1 is trusted without contact to the log; `None` without a shared log.
    pub(crate) fn new(node: u64, isolated_after: Option<Nanos>) -> Self {
        Self {
            node,
            isolated_after: isolated_after.unwrap_or(NEVER),
            seen: AtomicU64::new(0),
            announced: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            incarnation: AtomicU64::new(0),
            doubts: AtomicU64::new(0),
            synced: AtomicBool::new(false),
            last_contact: AtomicU64::new(if isolated_after.is_some() { 0 } else { NEVER }),
            server_offset: AtomicI64::new(0),
            view: RwLock::default(),
        }
    }

    /// To be taken before a read begins that may fill a cache.
    pub(crate) fn begin(&self) -> Began {
        // The position last: a flush or another log in between makes the value invalid, not valid too long.
        let generation = self.generation.load(Ordering::Acquire);
        let incarnation = self.incarnation();
        Began {
            position: self.seen.load(Ordering::Acquire),
            generation,
            incarnation,
        }
    }

    /// Whether L1 may serve this entry. One relaxed load and one comparison, unless something was
    /// invalidated since the last look.
    pub(crate) fn trusts(&self, key: &str, entry: &Entry, now: Nanos) -> bool {
        let trusted_from = entry
            .known_at
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
        let valid = self.is_valid(key, &entry.tags, entry.began);
        if valid {
            entry.checked_at(epoch);
        }
        valid
    }

    /// Whether nothing that takes this key or its tags was invalidated since the value's read began.
    pub(crate) fn is_valid<'t>(
        &self,
        key: &str,
        tags: impl IntoIterator<Item = &'t std::sync::Arc<str>>,
        began: Began,
    ) -> bool {
        let view = self.read();
        began.generation == self.generation.load(Ordering::Acquire)
            && view.markers.newest_for(key, tags) <= began.position
    }

    /// Whether a value of the second level is dead: it belongs to another log, or was invalidated since.
    pub(crate) fn outdates(
        &self,
        key: &str,
        tags: &[std::sync::Arc<str>],
        position: u64,
        incarnation: u64,
    ) -> bool {
        let view = self.read();
        incarnation != self.incarnation() || view.markers.newest_for(key, tags) > position
    }

    /// Why [`is_valid`](Self::is_valid) says no, in words, and at which position.
    pub(crate) fn decider(
        &self,
        key: &str,
        tags: &[std::sync::Arc<str>],
        began: Began,
    ) -> (String, u64) {
        let view = self.read();
        if began.generation != self.generation.load(Ordering::Acquire) {
            let by = "a gap in the log, after which all memory was given up";
            return (by.to_owned(), view.applied);
        }
        view.markers.decider(key, tags)
    }

    /// Whether a caller that comes now may wait for a load that began then. Its tags are not known yet, so
    /// any tag counts.
    pub(crate) fn may_join(&self, key: &str, began: Began) -> bool {
        let view = self.read();
        began.generation == self.generation.load(Ordering::Acquire)
            && view.markers.newest_for_load(key) <= began.position
    }

    /// Invalidates a scope where there is no shared log.
    pub(crate) fn mark_here(&self, scope: &Scope) {
        let mut view = self.write();
        view.applied += 1;
        let position = view.applied;
        self.seen.store(position, Ordering::Release);
        self.mark(&mut view, scope, position);
    }

    /// Takes note of a record of our own. `false`: the log is not the one we knew, everything is in doubt.
    pub(crate) fn acknowledge(&self, scope: &Scope, position: Position) -> bool {
        let mut view = self.write();
        // Under the lock: a snapshot of another log must not come between this look and the position below.
        if position.incarnation != self.incarnation() {
            self.doubt_in(&view);
            return false;
        }
        self.mark(&mut view, scope, position.number);
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
        view.advance(record.number);
        view.stamp = Some(record.stamp);
        if let (Some(scope), Some(demand)) = (&record.scope, &record.demand) {
            view.demands.add(scope, demand);
            self.seen.fetch_max(record.number, Ordering::AcqRel);
            return Effect::Nothing;
        }
        // A record nobody can read may have been about anything.
        self.mark(
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
        let Position {
            incarnation,
            number,
        } = snapshot.position;
        if incarnation != self.incarnation() {
            view.markers = Markers::default();
            view.ahead.clear();
            self.seen.store(number, Ordering::Release);
        }
        for (scope, position) in &snapshot.markers {
            view.markers.mark(scope, *position);
        }
        for demand in &snapshot.demands {
            view.demands.add(&Scope::All, demand);
        }
        view.advance(number);
        view.stamp = None;
        self.seen.fetch_max(number, Ordering::AcqRel);
        self.announce(number);
        self.incarnation.store(incarnation, Ordering::Release);
        self.void();
        let unchanged = self.doubts.load(Ordering::Acquire) == doubts;
        self.synced.store(unchanged, Ordering::Release);
    }

    /// The view is wrong: nothing in L1 or L2 is trusted until the next snapshot.
    pub(crate) fn doubt(&self) {
        let view = self.write();
        self.doubt_in(&view);
    }

    fn doubt_in(&self, _: &View) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
        self.synced.store(false, Ordering::Release);
        self.void();
    }

    /// Makes every entry of L1 and every load that is under way void.
    pub(crate) fn flush(&self) {
        let _view = self.write();
        self.void();
    }

    /// Forgets markers that no living entry can be older than.
    pub(crate) fn prune(&self, position: u64) {
        self.write().markers.prune(position);
    }

    fn void(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn mark(&self, view: &mut View, scope: &Scope, position: u64) {
        if scope.key().is_none() {
            view.markers.mark(scope, position);
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(crate) fn author(&self) -> Author {
        Author {
            node: self.node,
            incarnation: self.incarnation(),
            seen: self.seen(),
        }
    }

    /// An author whose record begins a new incarnation, unless somebody else has begun one already.
    pub(crate) fn renewer(&self) -> Author {
        // The largest number that Lua keeps exactly.
        Author {
            seen: 1 << 53,
            ..self.author()
        }
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Acquire)
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    pub(crate) fn applied(&self) -> u64 {
        self.read().applied
    }

    /// The log was found to stand here.
    pub(crate) fn announce(&self, number: u64) {
        self.announced.store(number, Ordering::Relaxed);
    }

    /// Records that are known of and not applied.
    pub(crate) fn lag(&self) -> u64 {
        let known = self.announced.load(Ordering::Relaxed).max(self.seen());
        known.saturating_sub(self.applied())
    }

    pub(crate) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }

    /// Whether the markers are known, without which nothing in L2 can be trusted.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(crate) fn markers(&self) -> (usize, u64) {
        let view = self.read();
        (view.markers.len(), view.markers.overflows())
    }

    /// The log was read to its end by a question asked at `asked`.
    pub(crate) fn contact(&self, asked: Nanos) {
        self.last_contact.fetch_max(asked, Ordering::AcqRel);
    }

    /// How long ago the log was read to its end.
    pub(crate) fn silence(&self, now: Nanos) -> Option<Nanos> {
        let last = self.last_contact.load(Ordering::Relaxed);
        (1..NEVER).contains(&last).then(|| now.saturating_sub(last))
    }

    /// How long L1 is trusted without contact to the log.
    pub(crate) fn isolated_after(&self) -> Nanos {
        self.isolated_after
    }

    pub(crate) fn is_isolated(&self, now: Nanos) -> bool {
        now.saturating_sub(self.last_contact.load(Ordering::Relaxed)) >= self.isolated_after
    }

    pub(crate) fn set_server_time(&self, server_millis: u64, now: Nanos) {
        let offset =
            i64::try_from(server_millis).unwrap_or(0) - i64::try_from(now / 1_000_000).unwrap_or(0);
        self.server_offset.store(offset, Ordering::Release);
    }

    pub(crate) fn server_millis(&self, now: Nanos) -> u64 {
        let ours = i64::try_from(now / 1_000_000).unwrap_or(0);
        u64::try_from(ours + self.server_offset.load(Ordering::Acquire)).unwrap_or(0)
    }

    fn read(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

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
