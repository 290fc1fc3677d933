//! One server of the cluster: its pool, its health, and what runs on it right now.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::Notify;

use crate::call::Call;
use crate::driver::Backend;
use crate::fault::{Fault, Trouble};
use crate::health::Health;
use crate::metrics::{NodeMetrics, Reason};
use crate::route::View;

/// A server and everything known about it.
pub(crate) struct Node {
    pub(crate) id: Arc<str>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) health: Health,
    pub(crate) metrics: NodeMetrics,
    /// Notified when the node should be looked at now.
    pub(crate) suspicion: Arc<Notify>,
    in_flight: AtomicU32,
}

impl Node {
    pub(crate) fn new(
        id: Arc<str>,
        backend: Arc<dyn Backend>,
        metrics: NodeMetrics,
        suspicion: Arc<Notify>,
    ) -> Self {
        Self {
            id,
            backend,
            health: Health::new(),
            metrics,
            suspicion,
            in_flight: AtomicU32::new(0),
        }
    }

    pub(crate) fn view(&self, tried: bool) -> View {
        View {
            eligible: !tried && self.health.is_up(),
            free: self.backend.load().is_free(),
            in_flight: self.in_flight(),
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Runs the call and takes note of how it went.
    ///
    /// # Cancellation
    ///
    /// Dropped before the end, the call leaves no trace: the count is restored and its connection thrown away.
    pub(crate) async fn run<C: Call>(&self, call: &C, reason: Reason) -> Result<C::Output, Fault> {
        let _running = Running::new(self);
        let begun = Instant::now();
        let outcome = call.on(&*self.backend).await;
        let took = begun.elapsed();
        self.metrics.finished(reason, outcome.is_ok(), took);
        tracing::trace!(node = %self.id, reason = reason.name(), ok = outcome.is_ok(), ?took, "statement");
        if let Err(fault) = &outcome {
            self.note(fault);
        }
        outcome
    }

    /// A fault asks for a look at the node; only a refused connection is proof enough by itself.
    fn note(&self, fault: &Fault) {
        match fault.trouble() {
            Trouble::Unreachable if self.backend.is_watched() => self.eject(&cause(fault)),
            Trouble::Unreachable | Trouble::Lost | Trouble::Slow => {}
            Trouble::Busy | Trouble::Conflict | Trouble::ReadOnly | Trouble::Answer => return,
        }
        self.suspicion.notify_one();
    }

    /// Takes the node out of rotation and fails those who wait for a connection to it.
    pub(crate) fn eject(&self, reason: &str) {
        if self.health.eject(Instant::now(), reason.to_owned()) {
            self.metrics.ejected();
            tracing::warn!(node = %self.id, address = self.backend.address(), reason, "node ejected");
        }
        self.backend.discard();
    }

    pub(crate) fn readmit(&self) {
        if self.health.readmit(Instant::now()) {
            self.metrics.readmitted();
            tracing::info!(node = %self.id, address = self.backend.address(), "node back in rotation");
        }
    }

    pub(crate) fn pause_left(&self) -> Duration {
        self.health.pause_left(Instant::now())
    }

    /// The caller's error; a node known to be down says why.
    pub(crate) fn db_err(&self, fault: Fault) -> DbErr {
        match (&fault, self.health.reason()) {
            (Fault::Discarded | Fault::ConnectTimeout(_), Some(reason)) => {
                crate::error::internal(format!(
                    "{} at {} is down: {reason}",
                    self.id,
                    self.backend.address()
                ))
            }
            _ => fault.into_db_err(&self.id, self.backend.address()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("up", &self.health.is_up())
            .finish_non_exhaustive()
    }
}

/// What the driver said, without the wrapping.
pub(crate) fn cause(fault: &Fault) -> String {
    match fault {
        Fault::Unreachable(error) => error.to_string(),
        Fault::Statement(error) => error.to_string(),
        Fault::ConnectTimeout(limit) => format!("no connection or no answer within {limit:?}"),
        Fault::Discarded | Fault::Saturated { .. } | Fault::QueryTimeout(_) => {
            "no answer".to_owned()
        }
    }
}

/// Counts a statement while it runs.
struct Running<'a>(&'a Node);

impl<'a> Running<'a> {
    fn new(node: &'a Node) -> Self {
        node.in_flight.fetch_add(1, Ordering::Relaxed);
        node.metrics.begun();
        Self(node)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.ended();
    }
}
