use std::time::Duration;

use crate::limits::Limits;
use crate::monitor::Monitor;

/// How the exporter is set up. The defaults fit a monitor with default thresholds.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Monitor, prometheus::Options};
///
/// let monitor = Monitor::builder().build()?;
/// let options = Options::from(&monitor)
///     .threshold(Duration::from_millis(200))
///     .buckets("basket.value", [5.0, 20.0, 100.0]);
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until an exporter is made of them"]
pub struct Options {
    pub(super) query_thresholds: Vec<Duration>,
    pub(super) request_thresholds: Vec<Duration>,
    pub(super) buckets: Vec<(&'static str, Vec<f64>)>,
    pub(super) idle_timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self::of(&Limits::default())
    }
}

impl From<&Monitor> for Options {
    /// The thresholds of this monitor.
    fn from(monitor: &Monitor) -> Self {
        Self::of(&monitor.inner().hub.limits)
    }
}

impl Options {
    fn of(limits: &Limits) -> Self {
        Self {
            query_thresholds: limits
                .query
                .iter()
                .chain(limits.queries.values())
                .copied()
                .collect(),
            request_thresholds: limits
                .request
                .iter()
                .chain(limits.routes.values())
                .copied()
                .collect(),
            buckets: Vec::new(),
            idle_timeout: None,
        }
    }

    /// One more bound for request and query durations, such as the target of a service level objective.
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.query_thresholds.push(threshold);
        self.request_thresholds.push(threshold);
        self
    }

    /// The bounds of one histogram, by its name: of the program's own, or of this crate's in place of the conventional
    /// ones, to which thresholds are added. Once for each name.
    ///
    /// Histograms without bounds of their own get decades from 0.001 to 10,000 in steps of 1, 2.5 and 5.
    pub fn buckets(mut self, metric: &'static str, bounds: impl IntoIterator<Item = f64>) -> Self {
        self.buckets.push((metric, bounds.into_iter().collect()));
        self
    }

    /// Leaves out a series that got nothing for so long. Off by default.
    ///
    /// Looked at by each scrape. A series whose handle somebody still holds comes back with its next value and
    /// with everything it had counted; one that nobody holds is forgotten.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }
}
