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

    pub(crate) fn record(&self, hub: &Hub, now: u64, value: f64) {
        self.0
            .each(&hub.registry, now, |histogram| histogram.record(value));
        for id in &self.0.ids {
            hub.sample(id, value);
        }
    }
}
