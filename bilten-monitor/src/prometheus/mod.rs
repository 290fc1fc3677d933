//! The Prometheus exporter, set up so that its histograms fit the thresholds and its memory stays bounded.

mod buckets;
mod exporter;
mod options;
mod rules;
mod service;
mod upkeep;

pub use exporter::Exporter;
pub use options::Options;
pub use rules::rules;
pub use service::MetricsService;

use std::sync::Arc;

use crate::error::Error;

/// Makes the process's metrics recorder a Prometheus exporter, and keeps it up to date until the process ends.
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
    let (recorder, exporter) = exporter::build(&options.into())?;
    metrics::set_global_recorder(Arc::clone(&recorder))
        .map_err(|refused| Error::RecorderInstalled(refused.to_string().into()))?;
    exporter.keep_until_shutdown();
    Ok(exporter)
}
