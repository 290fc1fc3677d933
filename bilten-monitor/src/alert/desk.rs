//! Takes alerts, holds back what is too many, and queues the rest for every sink.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::gate::{Burst, Gate};
use super::shelf::Shelf;
use super::{Alert, AlertKind, AlertSink, Fact};
use crate::clock::nanos;
use crate::error::Error;
use crate::outbox::Outbox;
use crate::outcome::Outcome;
use crate::tally::{Loss, Tallies};

/// What happened, before it is known whether an alert passes.
pub(crate) struct Incident<'a> {
    pub(crate) kind: AlertKind,
    pub(crate) subject: &'a str,
    pub(crate) duration_nanos: u64,
    pub(crate) threshold_nanos: u64,
    pub(crate) outcome: Outcome,
}

/// The rate limit and the sinks' queues.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What was raised, for the service's own pages.
    pub(crate) shelf: Shelf,
    sinks: Vec<Outbox<Arc<Alert>>>,
    window_nanos: u64,
    burst: Burst,
    tallies: Arc<Tallies>,
}

impl Desk {
    pub(crate) fn new(window: Duration, burst: u32, tallies: Arc<Tallies>) -> Self {
        Self {
            shelf: Shelf::default(),
            sinks: Vec::new(),
            window_nanos: nanos(window),
            burst: Burst::new(burst),
            tallies,
        }
    }

    /// Starts a sink's queue and thread.
    pub(crate) fn add(&mut self, sink: Box<dyn AlertSink>, queue: usize) -> Result<(), Error> {
        let tallies = Arc::clone(&self.tallies);
        let failed = move |why: &str| {
            tallies.count(Loss::SinkFailure);
            tracing::warn!(target: "bilten_monitor", why, "an alert was not delivered");
        };
        let deliver = move |alert: Arc<Alert>| sink.deliver(&alert);
        self.sinks
            .push(Outbox::start("bilten-alerts", queue, deliver, failed)?);
        Ok(())
    }

    /// Raises an alert unless its subject had one in this window. Never waits; allocates only when it passes.
    pub(crate) fn raise(
        &self,
        gate: &Gate,
        now: u64,
        incident: &Incident<'_>,
        facts: impl FnOnce() -> Vec<Fact>,
    ) {
        let Some(passed) = gate.admit(now, self.window_nanos, &self.burst, incident.duration_nanos)
        else {
            self.tallies.count(Loss::AlertSuppressed);
            return;
        };
        let alert = Arc::new(Alert {
            kind: incident.kind,
            subject: incident.subject.to_owned(),
            duration: Duration::from_nanos(incident.duration_nanos),
            threshold: Duration::from_nanos(incident.threshold_nanos),
            worst: Duration::from_nanos(passed.worst),
            outcome: incident.outcome,
            suppressed: passed.suppressed,
            at: SystemTime::now(),
            facts: facts(),
        });
        self.shelf.put(&alert);
        for sink in &self.sinks {
            if !sink.offer(Arc::clone(&alert)) {
                self.tallies.count(Loss::AlertDropped);
            }
        }
    }

    /// Waits until every sink has handled its queue; `false` when the time was up first.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let started = std::time::Instant::now();
        self.sinks
            .iter()
            .all(|sink| sink.flush(limit.saturating_sub(started.elapsed())))
    }
}
