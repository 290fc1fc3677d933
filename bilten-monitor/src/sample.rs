//! What a second monitoring service gets.

use std::fmt;
use std::sync::Arc;

use crate::alert::Refused;
use crate::registry::SeriesId;

/// One recorded value with its name and labels.
///
/// See [`MetricSink`] for an example.
#[derive(Clone)]
pub struct Sample {
    id: Arc<SeriesId>,
    value: f64,
    weight: u32,
}

impl Sample {
    pub(crate) fn new(id: &Arc<SeriesId>, value: f64, weight: u32) -> Self {
        Self {
            id: Arc::clone(id),
            value,
            weight,
        }
    }

    /// The metric's name, as the monitor's naming writes it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.key.name()
    }

    /// `counter`, `gauge` or `histogram`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.id.kind.label()
    }

    /// The value: seconds, bytes or a plain number; an increment for a counter.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.value
    }

    /// How many observations the value stands for: 1, and `one_in` for a query that is
    /// [sampled](crate::MonitorBuilder::sample_query).
    ///
    /// A sink that leaves it out counts a sampled query `one_in` times too seldom; a service that takes no weight
    /// gets the value so many times.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// The labels, name and value.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.id
            .key
            .labels()
            .map(|label| (label.key(), label.value()))
    }
}

impl fmt::Debug for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("key", &self.id.key)
            .field("value", &self.value)
            .field("weight", &self.weight)
            .finish()
    }
}

/// A second place for every recorded value, for a service that has no `metrics` recorder.
///
/// It has its own bounded queue and thread: when it is slow, samples are dropped and counted; when it fails,
/// the recorder still has the value.
///
/// ```
/// use bilten_monitor::{Monitor, alert::Refused, metric::{MetricSink, Sample}};
///
/// #[derive(Debug)]
/// struct Lines;
/// impl MetricSink for Lines {
///     fn observe(&self, sample: &Sample) -> Result<(), Refused> {
///         let labels: Vec<_> = sample.labels().map(|(name, value)| format!("{name}={value}")).collect();
///         // A sampled query's value stands for several: most line protocols call the inverse of it a sample rate.
///         tracing::debug!("{} {} {} @1/{}", sample.name(), labels.join(","), sample.value(), sample.weight());
///         Ok(())
///     }
/// }
/// let monitor = Monitor::builder().metric_sink(Lines).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
pub trait MetricSink: Send + Sync + 'static {
    /// Takes one value. Runs on the sink's own thread.
    ///
    /// # Errors
    ///
    /// Says why the value was not taken; it is counted as a sink failure.
    fn observe(&self, sample: &Sample) -> Result<(), Refused>;
}
