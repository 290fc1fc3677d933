//! What the table knows of one metric.

use metrics::Unit;

use super::Pair;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as the table knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) name: Pair,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<Unit>,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [Pair],
    /// Empty for what is no histogram.
    #[cfg_attr(
        all(not(test), not(feature = "prometheus")),
        expect(dead_code, reason = "only the exporter reads them")
    )]
    pub(crate) buckets: &'static [f64],
}

pub(super) const fn counter(name: Pair, labels: &'static [Pair], help: &'static str) -> Spec {
    Spec {
        name,
        kind: Kind::Counter,
        unit: None,
        help,
        labels,
        buckets: &[],
    }
}

pub(super) const fn gauge(name: Pair, labels: &'static [Pair], help: &'static str) -> Spec {
    Spec {
        name,
        kind: Kind::Gauge,
        unit: None,
        help,
        labels,
        buckets: &[],
    }
}

pub(super) const fn histogram(
    name: Pair,
    labels: &'static [Pair],
    buckets: &'static [f64],
    help: &'static str,
) -> Spec {
    Spec {
        name,
        kind: Kind::Histogram,
        unit: None,
        help,
        labels,
        buckets,
    }
}

impl Spec {
    pub(super) const fn seconds(mut self) -> Self {
        self.unit = Some(Unit::Seconds);
        self
    }

    pub(super) const fn bytes(mut self) -> Self {
        self.unit = Some(Unit::Bytes);
        self
    }
}
