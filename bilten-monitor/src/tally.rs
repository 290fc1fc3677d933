//! What the monitor counts about itself, so that nothing is lost unnoticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Counter;

use crate::clock::Time;
use crate::names::{self, Spec};
use crate::registry::{Cached, LabelPair, Registry};

/// What a monitor did not deliver, did not keep or counted elsewhere, since it was built.
///
/// ```
/// use bilten_monitor::Monitor;
///
/// let monitor = Monitor::builder().build()?;
/// assert_eq!(monitor.losses().alerts_dropped, 0);
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// Observations counted under `other` because a label had too many values.
    pub overflowed: u64,
    /// Alerts held back by the rate limit; the next alert of the same subject carries their number.
    pub alerts_suppressed: u64,
    /// Alerts lost because a sink's queue was full.
    pub alerts_dropped: u64,
    /// Deliveries that a sink refused or panicked on, looks of the watchdog at which a recorder or a clock panicked, and
    /// panics of a recorder that was asked for a handle or given a value.
    pub sink_failures: u64,
    /// Samples lost because a metric sink's queue was full.
    pub samples_dropped: u64,
    /// Values and names refused by the metric interface.
    pub rejected: u64,
    /// Observations made while there was no recorder, which no exporter will ever show, or that it panicked on: at least one
    /// of their series is without them. Snapshots, alerts and metric sinks have them all the same.
    pub unrecorded: u64,
}

/// The counters behind [`Losses`], shared with the sinks' threads.
#[derive(Debug)]
pub(crate) struct Tallies {
    pub(crate) registry: Arc<Registry>,
    pub(crate) time: Arc<Time>,
    overflowed: Tally,
    alerts_suppressed: Tally,
    alerts_dropped: Tally,
    sink_failures: Tally,
    samples_dropped: Tally,
    rejected: Tally,
    unrecorded: Tally,
}

/// Which counter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Overflowed,
    AlertSuppressed,
    AlertDropped,
    SinkFailure,
    SampleDropped,
    Rejected,
    Unrecorded,
}

impl Tallies {
    pub(crate) fn new(registry: Arc<Registry>, time: Arc<Time>) -> Self {
        Self {
            overflowed: Tally::new(&registry, &names::OVERFLOWED, &[]),
            alerts_suppressed: Tally::new(&registry, &names::ALERTS_SUPPRESSED, &[]),
            alerts_dropped: Tally::new(&registry, &names::ALERTS_DROPPED, &[]),
            sink_failures: Tally::new(&registry, &names::SINK_FAILURES, &[]),
            samples_dropped: Tally::new(&registry, &names::SAMPLES_DROPPED, &[]),
            rejected: Tally::new(&registry, &names::REJECTED, &[]),
            unrecorded: Tally::new(&registry, &names::UNRECORDED, &[]),
            registry,
            time,
        }
    }

    /// Shows the counters from their zero on: a rate sees no rise in a series that begins at one.
    pub(crate) fn publish(&self, now: u64) {
        self.take_panics();
        let all = [
            &self.overflowed,
            &self.alerts_suppressed,
            &self.alerts_dropped,
            &self.sink_failures,
            &self.samples_dropped,
            &self.rejected,
            &self.unrecorded,
        ];
        all.iter()
            .for_each(|tally| tally.publish(&self.registry, now));
    }

    /// Counts one, and says whether it was the first of its kind.
    pub(crate) fn count(&self, loss: Loss) -> bool {
        self.count_many(loss, 1)
    }

    pub(crate) fn count_many(&self, loss: Loss, times: u64) -> bool {
        let tally = match loss {
            Loss::Overflowed => &self.overflowed,
            Loss::AlertSuppressed => &self.alerts_suppressed,
            Loss::AlertDropped => &self.alerts_dropped,
            Loss::SinkFailure => &self.sink_failures,
            Loss::SampleDropped => &self.samples_dropped,
            Loss::Rejected => &self.rejected,
            Loss::Unrecorded => &self.unrecorded,
        };
        // Counted before the clock is asked, which may be what failed.
        let before = tally.note(times);
        tally.publish(&self.registry, self.time.now());
        before == 0
    }

    /// A recorder that panics is one that failed, whoever met it.
    fn take_panics(&self) {
        self.sink_failures.note(self.registry.take_panics());
    }

    pub(crate) fn losses(&self) -> Losses {
        self.take_panics();
        Losses {
            overflowed: self.overflowed.total(),
            alerts_suppressed: self.alerts_suppressed.total(),
            alerts_dropped: self.alerts_dropped.total(),
            sink_failures: self.sink_failures.total(),
            samples_dropped: self.samples_dropped.total(),
            rejected: self.rejected.total(),
            unrecorded: self.unrecorded.total(),
        }
    }
}

/// A counter that can be read in the process and is mirrored to the recorder, whenever that comes.
#[derive(Debug)]
pub(crate) struct Tally {
    total: AtomicU64,
    /// How much of it a recorder has.
    told: AtomicU64,
    counter: Cached<Counter>,
}

impl Tally {
    pub(crate) fn new(registry: &Registry, spec: &Spec, labels: &[LabelPair]) -> Self {
        let counter = Cached::new(registry.ids(spec, labels));
        debug_assert_eq!(
            counter.ids.len(),
            1,
            "one name in both families: {counter:?}"
        );
        Self {
            total: AtomicU64::new(0),
            told: AtomicU64::new(0),
            counter,
        }
    }

    /// Shows what no recorder has yet, and a zero if that is all.
    pub(crate) fn publish(&self, registry: &Registry, now: u64) {
        self.counter.with(registry, now, |counters, is_live| {
            if is_live {
                let total = self.total();
                let told = self.told.fetch_max(total, Ordering::Relaxed);
                let due = total.saturating_sub(told);
                let takes = |counter: &&Counter| registry.guard(|| counter.increment(due));
                // What nobody took is still due: the recorder panics today, and counts tomorrow.
                if counters.iter().filter(takes).count() == 0 {
                    self.told.fetch_sub(due, Ordering::Relaxed);
                }
            }
        });
    }

    /// Adds so many, and says whether they are the first.
    pub(crate) fn add(&self, registry: &Registry, now: u64, times: u64) -> bool {
        let before = self.note(times);
        self.publish(registry, now);
        before == 0
    }

    /// Adds so many, and leaves it to others to show them; how many there were.
    fn note(&self, times: u64) -> u64 {
        self.total.fetch_add(times, Ordering::Relaxed)
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}
