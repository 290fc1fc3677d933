//! Who plays which part, kept true by what the probes see.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::Error;
use crate::balance::Mask;
use crate::driver::Sample;
use crate::election::{Claim, elect};
use crate::fault::{Fault, Trouble};
use crate::findings::Findings;
use crate::identity::{Identity, standing};
use crate::lag::{Lag, STALE, Trail};
use crate::node::Node;
use crate::seen::Seen;
use crate::status::Rotation;

/// Nobody else takes writes, and nothing proves that this one has what the last primary wrote.
const FENCED: &str = "takes writes, and the primary takes none any more, but nothing proves that it has all that was written there: if it is meant to be the primary, call remove_replica() and add_replica() with it; otherwise make it a standby";

/// Nobody writes beside anybody.
const ITSELF: &str = "takes writes, as it is the primary itself under another name: name each server once, or a standby here";

/// The parts at one moment.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) primary: Arc<Node>,
    pub(crate) replicas: Vec<Arc<Node>>,
}

impl Topology {
    pub(crate) fn is_primary(&self, node: &Node) -> bool {
        std::ptr::eq(&*self.primary, node)
    }

    pub(crate) fn is_replica(&self, node: &Node) -> bool {
        self.replicas
            .iter()
            .any(|replica| std::ptr::eq(&**replica, node))
    }

    /// Whether plain reads have replicas at all; those of a group serve only who asks for it.
    pub(crate) fn has_replicas(&self, group: Option<&str>) -> bool {
        self.replicas.iter().any(|replica| replica.is_of(group))
    }

    /// The replica of this name.
    pub(crate) fn replica(&self, id: &str) -> Result<Arc<Node>, Error> {
        if &*self.primary.id == id {
            return Err(Error::invalid(
                format!("node `{id}`"),
                "is the primary, and every write needs it",
                "name a replica; to move the primary, promote another server",
            ));
        }
        let found = self.replicas.iter().find(|node| &*node.id == id);
        found.cloned().ok_or_else(|| {
            Error::invalid(
                format!("node `{id}`"),
                "is not in this cluster",
                "use an id of Cluster::status()",
            )
        })
    }

    /// Whether so few of its group would be left without this replica that it has to stay.
    fn needs(&self, node: &Node, min: Option<u32>) -> bool {
        let group = node.traits().group.as_deref();
        let peers = || self.replicas.iter().filter(|peer| peer.is_of(group));
        let others = peers().filter(|peer| !std::ptr::eq(&***peer, node));
        let left = others.filter(|peer| peer.health.is_in_rotation()).count();
        let min = min.map_or(peers().count().div_ceil(2), |min| {
            usize::try_from(min).unwrap_or(usize::MAX)
        });
        self.is_replica(node) && left < min
    }

    /// Whether one more replica could join under this name.
    pub(crate) fn has_room(&self, id: &str) -> Result<(), Error> {
        if self.nodes().any(|other| &*other.id == id) {
            return Err(Error::invalid(
                format!("replica id `{id}`"),
                "is taken",
                "give the new replica another name, or remove the old one first",
            ));
        }
        if self.replicas.len() == Mask::MOST {
            return Err(Error::invalid(
                "replicas",
                format!("are {} already", Mask::MOST),
                "remove one first",
            ));
        }
        Ok(())
    }

    pub(crate) fn has(&self, node: &Node) -> bool {
        self.is_primary(node) || self.is_replica(node)
    }

    /// What the primary said when it was last asked, not long ago, if that is that it stands by: its part is vacant.
    fn vacant(&self, now: Instant) -> Option<Sample> {
        let seen = self.primary.last_seen()?;
        let stands_by = seen.is_fresh(now) && seen.sample.in_recovery == Some(true);
        stands_by.then_some(seen.sample)
    }

    /// As many as the replicas' pools may hold together.
    pub(crate) fn replica_connections(&self) -> u32 {
        let most = self.replicas.iter().map(|node| node.backend.load().max);
        most.fold(0, u32::saturating_add)
    }

    /// The primary first.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        std::iter::once(&self.primary).chain(&self.replicas)
    }
}

/// The nodes of a cluster and what is known about them together.
#[derive(Debug)]
pub(crate) struct Roster {
    topology: ArcSwap<Topology>,
    /// Held while the parts are dealt anew.
    dealing: Mutex<()>,
    trail: Mutex<Trail>,
    /// The highest timeline on which a primary of this cluster was seen to write.
    reached: AtomicU32,
    /// Replicas must be standbys of the primary.
    strict: bool,
    max_lag: Option<Duration>,
    /// Of each group; `None` for half of them, rounded up.
    min_in_rotation: Option<u32>,
    pub(crate) findings: Findings,
}

impl Roster {
    pub(crate) fn new(
        topology: Topology,
        strict: bool,
        max_lag: Option<Duration>,
        min_in_rotation: Option<u32>,
    ) -> Self {
        // Until somebody finds otherwise.
        topology.nodes().for_each(|node| node.metrics.readmitted());
        let roster = Self {
            topology: ArcSwap::from_pointee(topology),
            dealing: Mutex::default(),
            trail: Mutex::default(),
            reached: AtomicU32::default(),
            strict,
            max_lag,
            min_in_rotation,
            findings: Findings::default(),
        };
        roster.topology().nodes().for_each(|node| roster.meet(node));
        roster
    }

    /// Behind a name that need not be a standby's there may be several servers.
    fn meet(&self, node: &Node) {
        if !self.strict {
            node.past.may_be_many();
        }
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        self.topology.load_full()
    }

    /// From which lag on a replica is out of rotation.
    pub(crate) fn max_lag(&self) -> Option<Duration> {
        self.max_lag
    }

    /// One more replica. `Err` when there are as many as there may be, or its id is taken.
    pub(crate) fn add(&self, node: &Arc<Node>) -> Result<(), Error> {
        let _dealing = self.dealing.lock().unwrap_or_else(PoisonError::into_inner);
        let topology = self.topology();
        topology.has_room(&node.id)?;
        self.meet(node);
        let mut replicas = topology.replicas.clone();
        replicas.push(Arc::clone(node));
        self.deal(&topology.primary, replicas);
        Ok(())
    }

    /// Takes a replica out for good.
    pub(crate) fn remove(&self, id: &str) -> Result<Arc<Node>, Error> {
        let _dealing = self.dealing.lock().unwrap_or_else(PoisonError::into_inner);
        let topology = self.topology();
        let node = topology.replica(id)?;
        self.deal_without(&topology, &node);
        Ok(node)
    }

    /// As [`remove`](Self::remove), for this very node if it is still there: another may have its name by now.
    pub(crate) fn withdraw(&self, node: &Node) {
        let _dealing = self.dealing.lock().unwrap_or_else(PoisonError::into_inner);
        let topology = self.topology();
        if topology.is_replica(node) {
            self.deal_without(&topology, node);
        }
    }

    fn deal_without(&self, topology: &Topology, node: &Node) {
        let others = topology.replicas.iter();
        let others = others.filter(|other| !std::ptr::eq(&***other, node));
        self.deal(&topology.primary, others.cloned().collect());
    }

    fn deal(&self, primary: &Arc<Node>, replicas: Vec<Arc<Node>>) {
        let changed = Arc::clone(&primary.changed);
        let primary = Arc::clone(primary);
        self.topology
            .store(Arc::new(Topology { primary, replicas }));
        // After it: whoever is woken before would tell of the old parts, and nobody of the new ones.
        changed.notify_one();
    }

    /// Takes in what a node that was asked at `asked` said about itself.
    pub(crate) fn observe(&self, node: &Node, asked: Instant, sample: Sample) {
        node.note_pool();
        node.backend.heard();
        node.past.told(&sample);
        if node.past.restarted(sample.started, node.backend.moves()) {
            // Its old connections are dead, and each would cost a caller an error.
            node.backend.discard();
        }
        node.past.told_as_asked();
        node.set_seen(Some(Seen::new(asked, sample.clone(), None)));
        let topology = self.hold_election(Instant::now());
        if topology.is_primary(node) {
            self.note_primary(asked, &sample);
            node.metrics.fenced(false);
            node.admit();
            return;
        }
        let primary = topology.primary.seen().map(|seen| seen.sample);
        // One that is in doubt for a moment is no reason to know no lag: the trail says when it was noted last.
        let told_last = || topology.primary.last_seen().map(|seen| seen.sample);
        // As it was last told: a primary that is down does not make a stranger one of the family.
        let family = topology.primary.identity();
        match standing(self.strict, &node.id, &sample, &family) {
            Ok(()) => {
                node.metrics.fenced(false);
                let primary = primary.or_else(told_last).unwrap_or_default();
                self.note_replica(asked, node, sample, &primary, &family);
                node.admit();
            }
            Err(reason) => self.refuse(node, &sample, primary.as_ref(), &reason),
        }
    }

    /// Takes out a node that may not answer for the primary.
    fn refuse(&self, node: &Node, sample: &Sample, primary: Option<&Sample>, reason: &str) {
        match primary {
            Some(primary) if primary.is_same_server(sample) => node.past.is_the_primary(),
            Some(primary) if primary.in_recovery == Some(false) => {
                node.past.is_beside_the_primary();
            }
            _ => {}
        }
        let topology = self.topology();
        let ours = node.identity().may_replace(&topology.primary.identity());
        let writes = ours && sample.in_recovery == Some(false);
        // As it said last: in a moment of doubt it is the same server still.
        let told_last = topology.primary.last_seen();
        let is_itself = told_last.is_some_and(|seen| seen.sample.is_same_server(sample));
        // Whoever writes there writes beside the primary; a stranger has a right to.
        node.metrics.fenced(writes && !is_itself);
        let is_fenced = writes && node.past.is_rival();
        match is_fenced && topology.vacant(Instant::now()).is_some() {
            true => node.eject(FENCED),
            false if writes && is_itself => node.eject(ITSELF),
            false => node.eject(reason),
        }
    }

    /// Takes in that a node gave no answer to a probe; whether it `answers` statements meanwhile.
    pub(crate) fn missed(&self, node: &Node, fault: &Fault, answers: bool) {
        node.note_pool();
        if fault.trouble() == Trouble::Busy {
            // Too many clients: full is not dead. One that is out waits for its next trial all the same.
            match node.health.is_up() {
                true => self.judge_unknown(node),
                false => node.set_aside(fault),
            }
            return;
        }
        if fault.is_soft() {
            return self.weigh(node, fault, answers);
        }
        node.set_seen(None);
        node.eject_for(fault);
        if fault.trouble() == Trouble::Silent {
            node.backend.give_up();
        }
    }

    /// Whether the node stays although its probe failed: without it too few were left. Two that fail at once are looked at
    /// one after the other.
    fn weigh(&self, node: &Node, fault: &Fault, answers: bool) {
        node.missed_a_probe();
        let _dealing = self.dealing.lock().unwrap_or_else(PoisonError::into_inner);
        let topology = self.topology();
        // Of one that never said who it is nobody knows whose data it has.
        let is_one = node.health.is_up() && node.identity().is_known();
        if is_one && topology.needs(node, self.min_in_rotation) {
            self.judge_unknown(node);
            node.doubt();
            return node.keep("or too few were left", fault);
        }
        if !topology.is_primary(node) {
            node.set_seen(None);
            return node.eject_for(fault);
        }
        // Nobody takes its place, and its connections may work all the same.
        node.doubt();
        match is_one && (answers || fault.is_answer()) {
            true => node.keep("as nobody takes its place", fault),
            false => node.set_aside(fault),
        }
    }

    /// A replica that stays although its lag is not known for longer than allowed counts as one that lags too much; what was
    /// told last is a turn old when the next one is missed.
    fn judge_unknown(&self, node: &Node) {
        let Some(limit) = self.max_lag.filter(|_| !node.traits().same_file) else {
            return;
        };
        let known = node.last_seen().and_then(|seen| seen.lag);
        let in_time = known.is_some_and(|lag| lag.as_of.elapsed() <= limit + STALE);
        if !in_time && self.topology().is_replica(node) {
            node.judge_lag(None, limit);
        }
    }

    /// Has every node looked at now: the primary does not behave like one.
    pub(crate) fn suspect_all(&self) {
        self.topology()
            .nodes()
            .for_each(|node| node.suspicion.notify_one());
    }

    fn note_primary(&self, asked: Instant, sample: &Sample) {
        let writes = sample.in_recovery != Some(true);
        if let Some(timeline) = sample.timeline.filter(|_| writes) {
            self.reached.fetch_max(timeline, Ordering::Relaxed);
        }
        // A standby that answers in place of the primary tells where it is itself. One of MySQL that refuses writes for a
        // while still tells of its own.
        let tells = writes || sample.gtids.as_ref().is_some_and(|own| own.are_executed());
        if let Some(place) = sample.progress(sample).filter(|_| tells) {
            self.trail().note(asked, place);
        }
    }

    fn note_replica(
        &self,
        asked: Instant,
        node: &Node,
        sample: Sample,
        primary: &Sample,
        family: &Identity,
    ) {
        let place = sample
            .progress(primary)
            .filter(|_| family.has_the_log_of(&sample));
        let is_proven = sample.is_of_the_history_of(primary);
        let lag = place.and_then(|place| self.trail().lag(Instant::now(), &place));
        let lag = lag.map(|lag| Lag { is_proven, ..lag });
        node.set_seen(Some(Seen::new(asked, sample, lag)));
        // Readers of the primary's own file see each commit.
        if let Some(limit) = self.max_lag.filter(|_| !node.traits().same_file) {
            if !node.health.is_up() {
                // It comes back as what it is now.
                node.forget_lagging();
            }
            node.judge_lag(lag, limit);
        }
    }

    /// Makes the node with the best claim the primary; returns who plays which part after that.
    fn hold_election(&self, now: Instant) -> Arc<Topology> {
        let topology = self.topology();
        let family = topology.primary.identity();
        let reached = self.reached.load(Ordering::Relaxed);
        let vacant = topology.vacant(now);
        let claim = |node: &Arc<Node>| {
            // Only a promotion begins a timeline: who writes on a newer one than any primary did, while ours stands by, was
            // given its part back before a probe saw it as a standby. So was one that led before and has all that ours has.
            let is_back = |standby: &Sample| {
                let has_all = |seen: Seen| seen.sample.has_all_of(standby);
                node.past.wrote_on() > reached
                    || (node.past.has_led() && node.last_seen().is_some_and(has_all))
            };
            let is_fenced = node.past.is_rival() && !vacant.as_ref().is_some_and(is_back);
            let ours = node.identity().may_replace(&family) && !is_fenced;
            // This process may have stood still since it looked: only a probe that was missed says that the primary is gone.
            let is_known =
                |seen: &Seen| seen.is_fresh(now) || (topology.is_primary(node) && !seen.missed);
            let is_there = |seen: &Seen| is_known(seen) && seen.sample.in_recovery == Some(false);
            Claim {
                writable: ours && node.last_seen().as_ref().is_some_and(is_there),
                timeline: if ours { node.past.wrote_on() } else { 0 },
            }
        };
        let claims: Vec<Claim> = topology.nodes().map(claim).collect();
        match elect(0, &claims) {
            0 => topology,
            elected if self.strict => self.promote(&topology.replicas[elected - 1]),
            _ => topology,
        }
    }

    /// A replica changes places with the primary.
    fn promote(&self, elected: &Arc<Node>) -> Arc<Topology> {
        let dealing = self.dealing.lock().unwrap_or_else(PoisonError::into_inner);
        let topology = self.topology();
        elected.past.became_primary();
        self.reached
            .fetch_max(elected.past.wrote_on(), Ordering::Relaxed);
        let is_elected = |node: &Arc<Node>| Arc::ptr_eq(node, elected);
        let Some(place) = topology.replicas.iter().position(is_elected) else {
            // Another probe was faster, or the operator took the node out.
            return topology;
        };
        let old = Arc::clone(&topology.primary);
        old.past.led_so_far();
        let mut replicas = topology.replicas.clone();
        let new = std::mem::replace(&mut replicas[place], Arc::clone(&old));
        // Before anybody writes there.
        new.backend.set_read_only(false);
        if new.health.rotation() != Rotation::Auto {
            // No order can be given about the primary, so none may be left over.
            new.health.order(Rotation::Auto);
            tracing::warn!(node = %new.id, "promoted, so it is no longer as ordered");
        }
        self.deal(&new, replicas);
        let present = self.topology();
        drop(dealing);
        self.trail().clear();
        old.past.is_beside_the_primary();
        old.backend.set_read_only(true);
        // It may still take writes and serve their history; only a probe that finds a standby brings it back.
        old.eject("another node became the primary");
        new.metrics.promoted();
        tracing::warn!(from = %old.id, to = %new.id, address = new.backend.address(), "the primary moved");
        present
    }

    fn trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
