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
        let is_taken = self
            .0
            .each(&hub.registry, now, |histogram, _| match weight {
                1 => histogram.record(value),
                many => histogram.record_many(value, many as usize),
            });
        if !is_taken {
            hub.unrecorded(weight);
        }
        for id in &self.0.ids {
            hub.sample(id, value, weight);
        }
    }
}

/// Histograms with the same labels that are recorded together, so that their handles are looked at once.
#[derive(Debug)]
pub(crate) struct Together {
    cached: Cached<Histogram>,
    /// Which of the values each series takes.
    takes: Box<[usize]>,
}

#[cfg_attr(
    not(feature = "http"),
    expect(dead_code, reason = "a query records one value when it ends")
)]
impl Together {
    pub(crate) fn new(registry: &Registry, specs: &[&Spec], labels: &[LabelPair]) -> Self {
        let (mut ids, mut takes) = (Vec::new(), Vec::new());
        for (at, spec) in specs.iter().enumerate() {
            ids.extend(registry.ids(spec, labels));
            takes.resize(ids.len(), at);
        }
        Self {
            cached: Cached::new(ids.into()),
            takes: takes.into(),
        }
    }

    /// Records one value for each metric; values beyond the metrics are left out.
    pub(crate) fn record(&self, hub: &Hub, now: u64, values: &[f64]) {
        let value_of = |at: usize| self.takes.get(at).and_then(|at| values.get(*at));
        let is_taken = self.cached.each(&hub.registry, now, |histogram, at| {
            if let Some(value) = value_of(at) {
                histogram.record(*value);
            }
        });
        if !is_taken {
            hub.unrecorded(1);
        }
        for (at, id) in self.cached.ids.iter().enumerate() {
            if let Some(value) = value_of(at) {
                hub.sample(id, *value, 1);
            }
        }
    }
}
