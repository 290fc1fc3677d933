//! Metrics of the program's own: counters, gauges and histograms.

use std::fmt;

pub use crate::label::LabelValue;
pub use crate::names::{Listed, listed};
pub use crate::sample::{MetricSink, Sample};

use crate::error::Error;
use crate::family::Declared;
use crate::hub::Hub;
use crate::monitor::Monitor;
use crate::names::Kind;
use crate::tally::Loss;

/// A metric has at most so many labels.
const MAX_LABELS: usize = 8;

impl Monitor {
    /// A metric of the program's own, by name.
    ///
    /// It goes to the recorder and to every metric sink. The first use decides its kind.
    ///
    /// ```
    /// use bilten_monitor::Monitor;
    ///
    /// let monitor = Monitor::builder().build()?;
    /// monitor.metric("tickets.sold").label("channel", "web").increment(2)?;
    /// monitor.metric("basket.value").observe(59.9)?;
    /// assert!(monitor.metric("basket.value").observe(f64::NAN).is_err());
    /// # Ok::<(), bilten_monitor::Error>(())
    /// ```
    pub fn metric(&self, name: &'static str) -> Metric<'_> {
        let inner = self.inner();
        let labels = [("", LabelValue::EMPTY); MAX_LABELS];
        Metric {
            hub: &inner.hub,
            declared: &inner.metrics,
            name,
            labels,
            used: 0,
        }
    }
}

/// A metric and its labels, ready to take a value. Made by [`Monitor::metric`].
#[must_use = "a metric is recorded by observe, increment or set"]
pub struct Metric<'m> {
    hub: &'m Hub,
    declared: &'m Declared,
    name: &'static str,
    labels: [(&'static str, LabelValue); MAX_LABELS],
    used: usize,
}

impl Metric<'_> {
    /// Adds a label. Its value is a constant, a truth value or a small number: never a user's data.
    ///
    /// The order of labels does not matter, and an empty value is no label at all, as in Prometheus. At most 8
    /// labels; with more, or with one name twice, taking a value is refused.
    pub fn label(mut self, name: &'static str, value: impl Into<LabelValue>) -> Self {
        let value = value.into();
        if value == LabelValue::EMPTY {
            return self;
        }
        if let Some(place) = self.labels.get_mut(self.used) {
            *place = (name, value);
        }
        self.used += 1;
        // Sorted, so that one set of labels is one series: the few before it move up.
        if let Some(labels) = self.labels.get_mut(..self.used) {
            let mut at = labels.len() - 1;
            while at > 0 && labels[at - 1].0 > labels[at].0 {
                labels.swap(at - 1, at);
                at -= 1;
            }
        }
        self
    }

    /// Records a value in a histogram: seconds, bytes, an amount.
    ///
    /// # Errors
    ///
    /// NaN, infinite and negative values and unfit names are refused and counted; nothing is recorded then.
    pub fn observe(self, value: f64) -> Result<(), Error> {
        self.record(Kind::Histogram, value, value >= 0.0)
    }

    /// Adds to a counter.
    ///
    /// # Errors
    ///
    /// Unfit names are refused and counted; nothing is added then.
    pub fn increment(self, count: u64) -> Result<(), Error> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "the exact number goes to the counter below 2^53"
        )]
        self.record(Kind::Counter, count as f64, true)
    }

    /// Sets a gauge.
    ///
    /// # Errors
    ///
    /// NaN and infinite values and unfit names are refused and counted; the gauge keeps its value then.
    pub fn set(self, value: f64) -> Result<(), Error> {
        self.record(Kind::Gauge, value, true)
    }

    fn record(self, kind: Kind, value: f64, in_range: bool) -> Result<(), Error> {
        let recorded = self.checked(value, in_range).and_then(|labels| {
            let family = self.declared.family(self.hub, self.name, kind)?;
            family.record(self.hub, labels, value)
        });
        if recorded.is_err() && self.hub.tallies.count(Loss::Rejected) {
            tracing::warn!(target: "bilten_monitor", metric = self.name, "a value was refused; further ones are only counted");
        }
        recorded
    }

    fn checked(&self, value: f64, in_range: bool) -> Result<&[(&'static str, LabelValue)], Error> {
        if !value.is_finite() || !in_range {
            return Err(Error::Value {
                name: self.name,
                value,
            });
        }
        self.labels.get(..self.used).ok_or(Error::TooManyLabels {
            name: self.name,
            most: MAX_LABELS,
        })
    }
}

impl fmt::Debug for Metric<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric")
            .field("name", &self.name)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}
