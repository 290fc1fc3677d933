//! Histograms: to the recorder and to the metric sinks.

use metrics::Histogram;

use crate::hub::Hub;
use crate::names::Spec;
use crate::registry::{Cached, LabelPair, Registry};

/// A histogram series in each family of names.
#[derive(Debug)]
pub(crate) struct Recorded(Cached<Histogram>);

impl Recorded {
    pub(crate) fn new(registry: &Registry, spec: &Spec, labels: &[LabelPair]) -> Self {
        Self(Cached::new(registry.ids(spec, labels)))
    }

    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only requests are never sampled")
    )]
    pub(crate) fn record(&self, hub: &Hub, now: u64, value: f64) {
        self.record_many(hub, now, value, 1);
    }

    /// Records a value that stands for so many.
    pub(crate) fn record_many(&self, hub: &Hub, now: u64, value: f64, weight: u32) {
        self.0.each(&hub.registry, now, |histogram| match weight {
            1 => histogram.record(value),
            many => histogram.record_many(value, many as usize),
        });
        for id in &self.0.ids {
            hub.sample(id, value);
        }
    }
}
