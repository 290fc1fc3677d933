//! Takes alerts, holds back what is too many, and queues the rest for every sink.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::crowd::Crowd;
use super::gate::{Burst, Gate, Passed};
use super::shelf::Shelf;
use super::{Alert, AlertKind, AlertSink, Fact, TraceId};
use crate::error::Error;
use crate::names::{ALERTS, label};
use crate::nanos::nanos;
use crate::outbox::Outbox;
use crate::outcome::Outcome;
use crate::tally::{Loss, Tallies, Tally};

/// What happened, before it is known whether an alert passes.
pub(crate) struct Incident<'a> {
    pub(crate) kind: AlertKind,
    pub(crate) subject: &'a str,
    pub(crate) duration_nanos: u64,
    pub(crate) threshold_nanos: u64,
    pub(crate) outcome: Outcome,
    pub(crate) trace: Option<TraceId>,
}

/// Finds the trace of what runs on this thread.
pub(crate) type TraceOf = Box<dyn Fn() -> Option<TraceId> + Send + Sync>;

/// How alerts are limited and what they tell.
pub(crate) struct Policy {
    pub(crate) window: Duration,
    pub(crate) burst: u32,
    pub(crate) notices: bool,
    pub(crate) trace_of: Option<TraceOf>,
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("window", &self.window)
            .field("burst", &self.burst)
            .field("notices", &self.notices)
            .finish_non_exhaustive()
    }
}

/// The rate limit and the sinks' queues.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What was raised, for the service's own pages.
    pub(crate) shelf: Shelf,
    sinks: Vec<Outbox<Arc<Alert>>>,
    policy: Policy,
    window_nanos: u64,
    burst: Burst,
    /// Alerts that passed, in the order of [`AlertKind::ALL`].
    raised: [Tally; AlertKind::ALL.len()],
    tallies: Arc<Tallies>,
}

impl Desk {
    pub(crate) fn new(policy: Policy, tallies: Arc<Tallies>) -> Self {
        let raised = AlertKind::ALL.map(|kind| {
            let labels = [(label::KIND, kind.label().into())];
            Tally::new(&tallies.registry, &ALERTS, &labels)
        });
        Self {
            shelf: Shelf::default(),
            sinks: Vec::new(),
            window_nanos: nanos(policy.window),
            burst: Burst::new(policy.burst),
            policy,
            raised,
            tallies,
        }
    }

    /// Starts a sink's queue and thread.
    pub(crate) fn add(&mut self, sink: Box<dyn AlertSink>, queue: usize) -> Result<(), Error> {
        let tallies = Arc::clone(&self.tallies);
        let failed = move |why: &str| {
            tracing::warn!(target: "bilten_monitor", why, "an alert was not delivered");
            tallies.count(Loss::SinkFailure);
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
        match gate.admit(now, self.window_nanos, &self.burst, incident.duration_nanos) {
            Some(passed) => self.pass(passed, now, incident, facts),
            None => drop(self.tallies.count(Loss::AlertSuppressed)),
        }
    }

    /// Raises an alert of a state that lasts, once for each window for as long as it is looked at.
    pub(crate) fn remind(
        &self,
        gate: &Gate,
        now: u64,
        incident: &Incident<'_>,
        facts: impl FnOnce() -> Vec<Fact>,
    ) {
        if let Some(passed) = gate.remind(now, self.window_nanos, &self.burst) {
            self.pass(passed, now, incident, facts);
        }
    }

    fn pass(
        &self,
        passed: Passed,
        now: u64,
        incident: &Incident<'_>,
        facts: impl FnOnce() -> Vec<Fact>,
    ) {
        if let Some(tally) = self.raised.get(incident.kind as usize) {
            tally.add(&self.tallies.registry, now, 1);
        }
        self.send(Alert {
            trace_id: self.trace().or(incident.trace),
            facts: facts(),
            ..incident.alert(passed)
        });
    }

    /// Tells that nothing happened for a whole window after an alert, where such notices are wanted.
    pub(crate) fn settle(&self, gate: &Gate, now: u64, kind: AlertKind, subject: &str) {
        if !self.policy.notices || !kind.ends() {
            return;
        }
        let Some(passed) = gate.recover(now, self.window_nanos) else {
            return;
        };
        let incident = Incident {
            kind,
            subject,
            duration_nanos: 0,
            threshold_nanos: 0,
            outcome: Outcome::Success,
            trace: None,
        };
        self.send(Alert {
            recovered: true,
            ..incident.alert(passed)
        });
    }

    /// Names the subjects that found no room, in one alert for each window: it is beyond the burst.
    pub(crate) fn sum_up(
        &self,
        now: u64,
        at_once: bool,
        gates: impl FnOnce(&mut dyn FnMut(AlertKind, &str, &Gate)),
    ) {
        if !self.burst.was_full(now, self.window_nanos, at_once) {
            return;
        }
        let mut crowd = Crowd::default();
        gates(&mut |kind, subject, gate| {
            if let Some(held) = gate.crowded_out() {
                crowd.add(kind, subject, held);
            }
        });
        let (suppressed, worst) = (crowd.held, crowd.worst);
        if suppressed == 0 {
            return;
        }
        let incident = Incident {
            kind: AlertKind::TooManyAlerts,
            subject: "alerts",
            duration_nanos: 0,
            threshold_nanos: 0,
            outcome: Outcome::Success,
            trace: None,
        };
        self.pass(Passed { suppressed, worst }, now, &incident, || {
            crowd.facts()
        });
    }

    fn send(&self, alert: Alert) {
        let alert = Arc::new(alert);
        self.shelf.put(&alert);
        for sink in &self.sinks {
            if !sink.offer(Arc::clone(&alert)) {
                self.tallies.count(Loss::AlertDropped);
            }
        }
    }

    /// A panic of the program's own closure stays here: an alert may be raised while a panic unwinds already.
    fn trace(&self) -> Option<TraceId> {
        let trace_of = self.policy.trace_of.as_ref()?;
        catch_unwind(AssertUnwindSafe(trace_of)).ok().flatten()
    }

    /// Shows the counters from their zero on: a rate sees no rise in a series that begins at one.
    pub(crate) fn publish(&self, now: u64) {
        let registry = &self.tallies.registry;
        self.raised
            .iter()
            .for_each(|tally| tally.publish(registry, now));
    }

    /// Waits until every sink has handled its queue; `false` when the time was up first.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let started = std::time::Instant::now();
        self.sinks
            .iter()
            .all(|sink| sink.flush(limit.saturating_sub(started.elapsed())))
    }
}

impl Incident<'_> {
    fn alert(&self, passed: Passed) -> Alert {
        Alert {
            kind: self.kind,
            subject: self.subject.to_owned(),
            duration: Duration::from_nanos(self.duration_nanos),
            threshold: Duration::from_nanos(self.threshold_nanos),
            worst: Duration::from_nanos(passed.worst),
            outcome: self.outcome,
            suppressed: passed.suppressed,
            recovered: false,
            trace_id: self.trace,
            at: SystemTime::now(),
            facts: Vec::new(),
        }
    }
}
