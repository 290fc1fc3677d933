//! The Prometheus exporter: its buckets fit the thresholds, its memory is bounded, and no value is lost.

mod buckets;
mod burn;
mod dashboard;
mod distribution;
mod exporter;
mod installed;
mod known;
mod objectives;
mod options;
mod panels;
mod recorder;
mod rules;
mod service;
mod storage;
#[cfg(feature = "dashboard")]
#[path = "tap_dashboard.rs"]
mod tap;
#[cfg(not(feature = "dashboard"))]
#[path = "tap_none.rs"]
mod tap;
mod template;
mod text;

pub use dashboard::dashboard;
pub use exporter::Exporter;
pub use objectives::Objectives;
pub use options::Options;
pub use rules::{AlertRule, alert_rules, rules};
pub use service::MetricsService;

use crate::error::Error;

/// Makes the process's metrics recorder a Prometheus exporter.
///
/// From a monitor the buckets get its thresholds; `Options::default()` has the default ones. What was measured
/// before the call is not in the exporter; everything after it is, also from a monitor that was built before.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Monitor, prometheus};
///
/// let monitor = Monitor::builder().slow_query(Duration::from_millis(30)).build()?;
/// let metrics = prometheus::install(&monitor)?;
/// let _ = monitor.query("answer").run_sync(|| Ok::<_, std::io::Error>(42));
/// assert!(metrics.render().contains(r#"db_client_operation_duration_seconds_bucket{db_query_summary="answer""#));
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::RecorderInstalled`] when the process has a recorder, and what [`Exporter::local`] refuses.
pub fn install(options: impl Into<Options>) -> Result<Exporter, Error> {
    let exporter = Exporter::local(options)?;
    exporter.install()?;
    Ok(exporter)
}
