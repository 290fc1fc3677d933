//! Numbers in flight.

use std::sync::atomic::{AtomicI64, Ordering};

use metrics::Gauge;

use crate::names::Spec;
use crate::registry::{Cached, LabelPair, Registry};

/// A number in flight. The count is ours; the gauge only mirrors it.
///
/// Adding to and taking from a gauge would go wrong when the handle changes in between: a request that began
/// before the recorder was installed would end at minus one.
#[derive(Debug)]
pub(crate) struct InFlight {
    count: AtomicI64,
    gauge: Cached<Gauge>,
}

impl InFlight {
    pub(crate) fn new(registry: &Registry, spec: &Spec, labels: &[LabelPair]) -> Self {
        Self {
            count: AtomicI64::new(0),
            gauge: Cached::new(registry.ids(spec, labels)),
        }
    }

    pub(crate) fn enter(&self, registry: &Registry, now: u64) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.publish(registry, now);
    }

    pub(crate) fn leave(&self, registry: &Registry, now: u64) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        self.publish(registry, now);
    }

    pub(crate) fn count(&self) -> i64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Sets the gauge to the count, again while the count has moved on: whoever writes last has then seen the
    /// last count, so the gauge is right once it is quiet.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a number in flight is far below 2^53"
    )]
    fn publish(&self, registry: &Registry, now: u64) {
        let mut seen = self.count();
        loop {
            self.gauge
                .each(registry, now, |gauge| gauge.set(seen as f64));
            let current = self.count();
            if current == seen {
                return;
            }
            seen = current;
        }
    }
}
