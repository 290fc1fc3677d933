use std::collections::HashMap;
use std::sync::Arc;

use metrics::Recorder;

use super::buckets::{bounds, fault};
use super::installed::Installed;
use super::options::Options;
use super::recorder::TextRecorder;
use super::service::MetricsService;
use super::tap::tapped;
use crate::error::Error;
use crate::names::{
    Kind, QUERY_DURATION, REQUEST_DURATION, REQUEST_FIRST_BYTE, Spec, all, exported,
};

/// Bounds for histograms of which nothing is known.
const GENERAL: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0,
    100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
];

/// A Prometheus exporter. Cheap to clone.
///
/// A histogram's value is counted when it is recorded: there is no queue, no thread and nothing to lose. NaN and
/// infinite values are refused, and of two metrics that would be written under one name the younger is left out;
/// both are counted in `bilten_monitor_export_rejected_total`. A gauge that is set to NaN has no value: it is left out until it
/// gets another one.
///
/// ```
/// use bilten_monitor::{Monitor, prometheus::{Exporter, Options}};
///
/// let metrics = Exporter::local(Options::default())?;
/// let monitor = Monitor::builder().recorder(metrics.recorder()).build()?;
/// monitor.metric("tickets.sold").increment(2)?;
/// assert!(metrics.render().contains("tickets_sold_total 2"));
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone)]
pub struct Exporter(Arc<TextRecorder>);

impl Exporter {
    /// An exporter beside the process's recorder, for a monitor of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Buckets`] names the metric, [`Error::Zero`] the option.
    pub fn local(options: impl Into<Options>) -> Result<Self, Error> {
        build(&options.into()).map(|recorder| Self(Arc::new(recorder)))
    }

    /// The recorder, for [`MonitorBuilder::recorder`](crate::MonitorBuilder::recorder).
    #[must_use]
    pub fn recorder(&self) -> Arc<dyn Recorder + Send + Sync> {
        Arc::clone(&self.0) as Arc<dyn Recorder + Send + Sync>
    }

    /// Everything recorded so far, in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// A service for `/metrics`, for any server on `http` 1.
    #[must_use]
    pub fn service(&self) -> MetricsService {
        MetricsService::new(Arc::clone(&self.0))
    }

    pub(super) fn install(&self) -> Result<(), Error> {
        metrics::set_global_recorder(tapped(Installed(Arc::clone(&self.0))))
            .map_err(|refused| Error::RecorderInstalled(refused.to_string().into()))
    }
}

fn build(options: &Options) -> Result<TextRecorder, Error> {
    check(options)?;
    let mut own = HashMap::new();
    for spec in all().filter(|spec| spec.kind == Kind::Histogram) {
        let bounds: Arc<[f64]> = bounds(spec.buckets, thresholds(spec, options)).into();
        own.insert(exported(spec.name.short), Arc::clone(&bounds));
        own.insert(exported(spec.name.otel), bounds);
    }
    for (metric, bounds) in &options.buckets {
        if let Some(reason) = fault(bounds) {
            return Err(Error::Buckets { metric, reason });
        }
        own.insert(exported(metric), bounds.as_slice().into());
    }
    Ok(TextRecorder::new(GENERAL.into(), own, options.idle_timeout))
}

fn check(options: &Options) -> Result<(), Error> {
    let remedy = "give a positive duration, or leave the option out for the default";
    let zero = |duration: &std::time::Duration| duration.is_zero();
    let faults = [
        ("threshold", options.query_thresholds.iter().any(zero)),
        (
            "idle_timeout",
            options.idle_timeout.as_ref().is_some_and(zero),
        ),
    ];
    let fault = faults.into_iter().find(|(_, is_zero)| *is_zero);
    fault.map_or(Ok(()), |(field, _)| Err(Error::Zero { field, remedy }))
}

fn thresholds<'o>(spec: &Spec, options: &'o Options) -> &'o [std::time::Duration] {
    if spec.name == QUERY_DURATION.name {
        &options.query_thresholds
    } else if spec.name == REQUEST_DURATION.name || spec.name == REQUEST_FIRST_BYTE.name {
        &options.request_thresholds
    } else {
        &[]
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}
