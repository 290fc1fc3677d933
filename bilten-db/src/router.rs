//! The way of a call through the cluster: the only file that knows the order of the steps.
//!
//! classify, look for a hint, pick a node, run, and after a fault perhaps once more on another replica and once on the
//! primary.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sea_orm::{DbBackend, DbErr};

use crate::Error;
use crate::access::{Access, classify_denying};
use crate::call::{Call, Wants};
use crate::failover::{Step, step};
use crate::fault::Fault;
use crate::learned::Learned;
use crate::metrics::Reason;
use crate::node::Node;
use crate::route::pick;
use crate::scope::{self, Route};

/// What happens to a read when no replica is in rotation.
///
/// ```
/// use bilten_db::{Cluster, Fallback};
///
/// let builder = Cluster::builder().fallback(Fallback::Primary { max_in_flight: 100 });
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// The primary serves it, but not more than `max_in_flight` at once: others fail with
    /// [`Error::Overloaded`], so that lost replicas do not take the primary with them. The default, with twice the
    /// connections of the primary's pool.
    Primary {
        /// Most reads that wait or run on the primary in place of replicas.
        max_in_flight: u32,
    },
    /// It fails with [`Error::NoReplica`].
    Error,
}

/// Who plays which part.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) primary: Arc<Node>,
    pub(crate) replicas: Vec<Arc<Node>>,
}

/// Sends calls to nodes.
#[derive(Debug)]
pub(crate) struct Router {
    topology: RwLock<Arc<Topology>>,
    backend: DbBackend,
    denied: Vec<Box<str>>,
    learned: Learned,
    fallback: Fallback,
    standing_in: AtomicU32,
    turn: AtomicUsize,
}

impl Router {
    pub(crate) fn new(topology: Topology, denied: Vec<Box<str>>, fallback: Fallback) -> Self {
        Self {
            backend: topology.primary.backend.kind(),
            topology: RwLock::new(Arc::new(topology)),
            denied,
            learned: Learned::default(),
            fallback,
            standing_in: AtomicU32::new(0),
            // Processes that start together would otherwise all begin with the first replica.
            turn: AtomicUsize::new(fastrand::usize(..)),
        }
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.backend
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn learned(&self) -> usize {
        self.learned.len()
    }

    /// Runs a call where it belongs.
    ///
    /// # Cancellation
    ///
    /// Safe for the cluster at every point; a write that was sent may or may not have happened.
    pub(crate) async fn run<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        let topology = self.topology();
        match (self.access(call.wants()), call.wants()) {
            (Access::Write, Wants::Statement(_)) => {
                on_primary(&topology, call, Reason::Write).await
            }
            (Access::Write, Wants::Transaction { .. }) => {
                on_primary(&topology, call, Reason::Transaction).await
            }
            (Access::Read, _) if scope::route() == Some(Route::Primary) => {
                on_primary(&topology, call, Reason::Pinned).await
            }
            (Access::Read, _) => self.read(&topology, call).await,
        }
    }

    fn access(&self, wants: Wants<'_>) -> Access {
        match wants {
            Wants::Transaction { read_only: true } => Access::Read,
            Wants::Transaction { read_only: false } => Access::Write,
            Wants::Statement(sql) if self.learned.contains(sql) => Access::Write,
            Wants::Statement(sql) => classify_denying(self.backend, sql, &self.denied),
        }
    }

    async fn read<C: Call>(&self, topology: &Topology, call: &C) -> Result<C::Output, DbErr> {
        let mut tried = None;
        while let Some((node, reason)) = self.next_replica(topology, tried.as_ref()) {
            let fault = match node.run(call, reason).await {
                Ok(output) => return Ok(output),
                Err(fault) => fault,
            };
            match step(Access::Read, true, fault.trouble()) {
                Step::Return => return Err(node.db_err(fault)),
                Step::Learn => return self.learn(topology, call).await,
                Step::Elsewhere if tried.is_some() => break,
                Step::Elsewhere => tried = Some(node),
            }
        }
        self.stand_in(topology, call, tried.is_some()).await
    }

    /// The replica of this scope, or the one whose turn it is.
    fn next_replica(
        &self,
        topology: &Topology,
        tried: Option<&Arc<Node>>,
    ) -> Option<(Arc<Node>, Reason)> {
        let is_tried = |node: &Arc<Node>| tried.is_some_and(|t| Arc::ptr_eq(t, node));
        let pinned = scope::pinned(self.id()).filter(|node| !is_tried(node) && node.health.is_up());
        if let Some(node) = pinned {
            return topology.is_replica(&node).then_some((node, Reason::Pinned));
        }
        // Only a choice takes a turn: two pinned reads a page would otherwise leave every other replica idle.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let views = topology
            .replicas
            .iter()
            .map(|node| node.view(is_tried(node)));
        let node = &topology.replicas[pick(views, turn)?];
        scope::pin(self.id(), node);
        let reason = if tried.is_some() {
            Reason::Retry
        } else {
            Reason::Read
        };
        Some((Arc::clone(node), reason))
    }

    /// The statement hid a write, which the replica refused before any effect.
    async fn learn<C: Call>(&self, topology: &Topology, call: &C) -> Result<C::Output, DbErr> {
        if let Wants::Statement(sql) = call.wants() {
            self.learned.insert(sql);
            topology.primary.metrics.misread();
            tracing::debug!(
                "a statement that looked like a read writes; it runs on the primary from now on"
            );
        }
        on_primary(topology, call, Reason::Retry).await
    }

    /// The primary serves a read, for lack of a replica.
    async fn stand_in<C: Call>(
        &self,
        topology: &Topology,
        call: &C,
        again: bool,
    ) -> Result<C::Output, DbErr> {
        if topology.replicas.is_empty() && scope::route() != Some(Route::Replica) {
            return read_on_primary(topology, call, Reason::Read).await;
        }
        let _place = self.place()?;
        scope::pin(self.id(), &topology.primary);
        let reason = if again {
            Reason::Retry
        } else {
            Reason::Fallback
        };
        read_on_primary(topology, call, reason).await
    }

    fn place(&self) -> Result<Place<'_>, Error> {
        match self.fallback {
            Fallback::Primary { max_in_flight } if scope::route() != Some(Route::Replica) => {
                Place::take(&self.standing_in, max_in_flight)
            }
            _ => Err(Error::NoReplica),
        }
    }

    /// Tells clusters apart in the scope of a task.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Topology {
    fn is_replica(&self, node: &Arc<Node>) -> bool {
        self.replicas
            .iter()
            .any(|replica| Arc::ptr_eq(replica, node))
    }
}

async fn on_primary<C: Call>(
    topology: &Topology,
    call: &C,
    reason: Reason,
) -> Result<C::Output, DbErr> {
    let primary = &topology.primary;
    primary
        .run(call, reason)
        .await
        .map_err(|fault| primary.db_err(fault))
}

/// A read may run a second time, on a fresh connection: after a restart the old ones are all dead.
async fn read_on_primary<C: Call>(
    topology: &Topology,
    call: &C,
    reason: Reason,
) -> Result<C::Output, DbErr> {
    let primary = &topology.primary;
    let retry = |fault: &Fault| step(Access::Read, false, fault.trouble()) == Step::Elsewhere;
    match primary.run(call, reason).await {
        Err(fault) if retry(&fault) => on_primary(topology, call, Reason::Retry).await,
        outcome => outcome.map_err(|fault| primary.db_err(fault)),
    }
}

/// One of the places for reads that the primary serves in place of replicas.
#[derive(Debug)]
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicU32, limit: u32) -> Result<Self, Error> {
        let place = Self(taken);
        if taken.fetch_add(1, Ordering::Relaxed) < limit {
            Ok(place)
        } else {
            Err(Error::Overloaded { limit })
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_however_they_end() {
        let taken = AtomicU32::new(0);
        let first = Place::take(&taken, 1).unwrap();
        assert!(matches!(
            Place::take(&taken, 1),
            Err(Error::Overloaded { limit: 1 })
        ));
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(Place::take(&taken, 1).is_ok());
    }
}
