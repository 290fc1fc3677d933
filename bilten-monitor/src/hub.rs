//! Where every observation comes together: the clock, the recorder, the sinks and the limits.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::alert::{AlertKind, Desk, Fact, Gate, Incident};
use crate::budget::Budget;
use crate::clock::Time;
use crate::in_flight::InFlight;
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::outcome::Outcome;
use crate::registry::{Registry, SeriesId};
use crate::sample::Sample;
use crate::slots::Watched;
use crate::tally::{Loss, Tallies};

/// Shared by everything that one monitor measures.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) time: Arc<Time>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) desk: Desk,
    pub(crate) samples: Vec<Outbox<Sample>>,
    pub(crate) limits: Limits,
    pub(crate) max_labels: usize,
    pub(crate) shared: Mutex<HashMap<String, Arc<InFlight>>>,
    pub(crate) watched: Mutex<Vec<Weak<dyn Watched>>>,
    /// What nobody else holds.
    pub(crate) kept: Mutex<Vec<Arc<dyn Watched>>>,
    pub(crate) budget: Option<Budget>,
    /// Held while gauges are set: an older number never comes after a newer one.
    pub(crate) showing: Mutex<()>,
}

/// Every monitor of the process, for exporters: they write numbers in flight as they are at that moment.
static PROCESS: Mutex<Vec<Weak<Hub>>> = Mutex::new(Vec::new());

/// Brings every monitor's own counters and gauges up to date.
#[cfg_attr(
    not(feature = "prometheus"),
    expect(dead_code, reason = "another exporter asks nobody before it writes")
)]
pub(crate) fn show_all() {
    let hubs: Vec<_> = {
        let all = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    hubs.iter().for_each(|hub| hub.publish(hub.time.now()));
}

impl Hub {
    /// Has exporters look at this one as well.
    pub(crate) fn announce(self: &Arc<Self>) {
        let mut all = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|hub| hub.strong_count() > 0);
        all.push(Arc::downgrade(self));
    }

    /// Tells this monitor from every other one that there is at the same time.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only a request can pass one monitor twice")
    )]
    pub(crate) fn mark(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Brings the gauges of numbers in flight up to date.
    pub(crate) fn show(&self, now: u64) {
        let watched = self.watched();
        let _turn = self.showing.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().for_each(|watched| watched.show(now));
        self.show_shared(now);
    }

    fn show_shared(&self, now: u64) {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared
            .values()
            .for_each(|in_flight| in_flight.show(&self.registry, now));
    }

    /// Sends a value that stands for so many to the metric sinks. Neither waits nor allocates.
    #[inline]
    pub(crate) fn sample(&self, id: &Arc<SeriesId>, value: f64, weight: u32) {
        if !self.samples.is_empty() {
            self.offer(id, value, weight);
        }
    }

    fn offer(&self, id: &Arc<SeriesId>, value: f64, weight: u32) {
        for sink in &self.samples {
            if !sink.offer(Sample::new(id, value, weight)) {
                self.tallies.count(Loss::SampleDropped);
            }
        }
    }

    /// Counts an observation for which there was no recorder.
    #[cold]
    pub(crate) fn unrecorded(&self, weight: u32) {
        self.tallies.count_many(Loss::Unrecorded, weight.into());
    }

    /// Counts an observation that goes to `other` because `label` has too many values, and raises an alert.
    pub(crate) fn overflowed(&self, label: &'static str, gate: &Gate) {
        let kept = || vec![("kept", self.max_labels.to_string())];
        self.overflowed_with(label, gate, kept);
    }

    /// The same with what the alert tells.
    pub(crate) fn overflowed_with(
        &self,
        label: &'static str,
        gate: &Gate,
        facts: impl FnOnce() -> Vec<Fact>,
    ) {
        self.tallies.count(Loss::Overflowed);
        let incident = Incident {
            kind: AlertKind::TooManyLabels,
            subject: label,
            duration_nanos: 0,
            threshold_nanos: 0,
            outcome: Outcome::Success,
            trace: None,
        };
        self.desk.raise(gate, self.time.now(), &incident, facts);
    }

    /// A number in flight that several layers of one monitor share: two would overwrite each other's gauge.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only HTTP layers share numbers in flight")
    )]
    pub(crate) fn shared_in_flight(
        &self,
        key: &str,
        make: impl FnOnce() -> InFlight,
    ) -> Arc<InFlight> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = shared.get(key) {
            return Arc::clone(found);
        }
        let made = Arc::new(make());
        shared.insert(key.to_owned(), Arc::clone(&made));
        made
    }

    /// Has the watchdog look after these operations for as long as they are there.
    pub(crate) fn watch(&self, watched: Weak<dyn Watched>) {
        let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|watched| watched.strong_count() > 0);
        all.push(watched);
    }

    /// Has the watchdog look after this in place of what was kept before, until the monitor is gone.
    #[cfg_attr(
        not(feature = "runtime"),
        expect(dead_code, reason = "only runtimes are kept")
    )]
    pub(crate) fn keep(&self, kept: Arc<dyn Watched>) {
        self.watch(Arc::downgrade(&kept));
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *all = vec![kept];
    }

    /// Everything that is watched.
    pub(crate) fn watched(&self) -> Vec<Arc<dyn Watched>> {
        let all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    /// Tells of alerts whose cause has been gone for a while.
    pub(crate) fn settle(&self, now: u64, watched: &dyn Watched) {
        watched.settle(now);
        watched.gates(&mut |kind, subject, gate| self.desk.settle(gate, now, kind, subject));
    }

    /// Names the subjects whose alerts found no room in the window that is over, or at once.
    pub(crate) fn sum_up(&self, now: u64, watched: &[Arc<dyn Watched>], at_once: bool) {
        self.desk.sum_up(now, at_once, |visit| {
            watched.iter().for_each(|watched| watched.gates(visit));
        });
    }

    /// Shows every counter of the monitor's own, also those that are still zero.
    pub(crate) fn publish(&self, now: u64) {
        self.tallies.publish(now);
        self.desk.publish(now);
        self.show(now);
    }

    /// The same while the monitor is built. A recorder or a clock that panics then is no reason to go without a monitor.
    pub(crate) fn begin(&self) {
        let publish = AssertUnwindSafe(|| self.publish(self.time.now()));
        if catch_unwind(publish).is_err() {
            let count = AssertUnwindSafe(|| self.tallies.count(Loss::SinkFailure));
            drop(catch_unwind(count));
            tracing::error!(
                target: "bilten_monitor",
                "a recorder or clock panicked while the monitor was built: it was built all the same",
            );
        }
    }

    /// Waits until the sinks have handled what was queued so far, at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let now = self.time.now();
        self.publish(now);
        self.sum_up(now, &self.watched(), true);
        let started = std::time::Instant::now();
        let left = || limit.saturating_sub(started.elapsed());
        self.desk.flush(left()) && self.samples.iter().all(|sink| sink.flush(left()))
    }
}

impl Drop for Hub {
    /// The last request may outlive its monitor, and nobody would look any more.
    fn drop(&mut self) {
        self.show_shared(self.time.now());
    }
}
