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
/// infinite values are refused, and of two metrics that would be written under one name the younger is left out, the
/// program's own where the other is one of this crate's. Two series or labels that are written alike (`a.b` and `a_b`)
/// become one. All of that is counted in `bilten_monitor_export_rejected_total` and told once in the log. Counts and
/// sums stay at the largest number once they are there. A gauge that is set to NaN has no value: it is left out until it
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
    /// [`Error::Buckets`] names the metric; [`Error::Zero`], [`Error::EmptyName`] and [`Error::Duplicate`] the option.
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
    let mut known = HashMap::new();
    for spec in all().filter(|spec| spec.kind == Kind::Histogram) {
        let bounds: Arc<[f64]> = bounds(spec.buckets, thresholds(spec, options)).into();
        known.insert(exported(spec.name.short), Arc::clone(&bounds));
        known.insert(exported(spec.name.otel), bounds);
    }
    known.extend(given(options)?);
    Ok(TextRecorder::new(
        GENERAL.into(),
        known,
        options.idle_timeout,
    ))
}

/// The bounds that the options give, by exported name.
fn given(options: &Options) -> Result<HashMap<String, Arc<[f64]>>, Error> {
    let mut given = HashMap::new();
    for (metric, own) in &options.buckets {
        let field = "buckets";
        if metric.is_empty() {
            return Err(Error::EmptyName { field });
        }
        if let Some(reason) = fault(own) {
            return Err(Error::Buckets { metric, reason });
        }
        // Of a metric of the table they are in place of the conventional ones, never of a threshold.
        let spec = all().find(|spec| [spec.name.otel, spec.name.short].contains(metric));
        let thresholds = spec.map_or(&[][..], |spec| thresholds(spec, options));
        let bounds = bounds(own, thresholds).into();
        if given.insert(exported(metric), bounds).is_some() {
            let name = metric;
            return Err(Error::Duplicate { field, name });
        }
    }
    Ok(given)
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
