//! Numbers in flight.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::Gauge;

use crate::names::Spec;
use crate::registry::{Cached, LabelPair, Registry};

/// A gauge that shows a number in flight. The count is ours; the gauge only mirrors it.
///
/// Adding to and taking from a gauge would go wrong when the handle changes in between: a request that began
/// before the recorder was installed would end at minus one. And what begins and ends a million times a second is
/// seen by nobody in between: so the gauge is set when somebody looks, not by each operation.
#[derive(Debug)]
pub(crate) struct Mirror {
    gauge: Cached<Gauge>,
    /// What the gauge was last set to: an exporter leaves a series out that is not written for a while.
    shown: AtomicU64,
}

impl Mirror {
    pub(crate) fn new(registry: &Registry, spec: &Spec, labels: &[LabelPair]) -> Self {
        Self {
            gauge: Cached::new(registry.ids(spec, labels)),
            shown: AtomicU64::new(u64::MAX),
        }
    }

    /// Sets the gauge to another number. Called under the hub's lock: an older one never comes after a newer one.
    pub(crate) fn show(&self, registry: &Registry, now: u64, count: u64) {
        // A number that stays is told again and again: an exporter forgets what it hears nothing of.
        if !registry.is_live() || (self.shown.swap(count, Ordering::Relaxed) == count && count == 0)
        {
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a number in flight is far below 2^53"
        )]
        let is_told = self
            .gauge
            .each(registry, now, |gauge, _| gauge.set(count as f64));
        if !is_told {
            // What a recorder panicked on it gets with the next look, also a zero.
            self.shown.store(u64::MAX, Ordering::Relaxed);
        }
    }
}

/// A number in flight of its own, with its gauge.
#[derive(Debug)]
pub(crate) struct InFlight {
    began: AtomicU64,
    ended: AtomicU64,
    mirror: Mirror,
}

#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "a query's number in flight is among its counts")
)]
impl InFlight {
    pub(crate) fn new(registry: &Registry, spec: &Spec, labels: &[LabelPair]) -> Self {
        Self {
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            mirror: Mirror::new(registry, spec, labels),
        }
    }

    pub(crate) fn enter(&self) {
        self.began.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the gauge, unless nothing has ever been in flight.
    pub(crate) fn show(&self, registry: &Registry, now: u64) {
        // Read before `began`: what ends in between is then never a negative number.
        let ended = self.ended.load(Ordering::SeqCst);
        let began = self.began.load(Ordering::SeqCst);
        if began > 0 {
            self.mirror.show(registry, now, began.saturating_sub(ended));
        }
    }
}
