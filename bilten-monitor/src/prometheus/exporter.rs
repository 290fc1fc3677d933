use std::sync::{Arc, Mutex, PoisonError};

use metrics::Recorder;
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_util::MetricKindMask;

use super::buckets::{bounds, fault};
use super::options::Options;
use super::service::MetricsService;
use super::upkeep::Upkeep;
use crate::error::Error;
use crate::names::{ALL, Kind, Spec};

/// Bounds for histograms of which nothing is known.
const GENERAL: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0,
    100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0,
];

/// A Prometheus exporter and the thread that keeps it small. Cheap to clone.
///
/// A local one ends its thread with its last clone; an installed one runs until
/// [`shutdown`](Self::shutdown) or the end of the process, because the process goes on recording.
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
pub struct Exporter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    upkeep: Arc<Mutex<Option<Upkeep>>>,
}

/// Keeps the installed exporter's thread alive when every handle on it was dropped.
static INSTALLED: Mutex<Option<Arc<Mutex<Option<Upkeep>>>>> = Mutex::new(None);

impl Exporter {
    /// An exporter beside the process's recorder, for a monitor of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Buckets`] names the metric, [`Error::Zero`] and [`Error::TooShort`] the option.
    pub fn local(options: impl Into<Options>) -> Result<Self, Error> {
        build(&options.into()).map(|(_, exporter)| exporter)
    }

    /// The recorder, for [`MonitorBuilder::recorder`](crate::MonitorBuilder::recorder).
    #[must_use]
    pub fn recorder(&self) -> Arc<dyn Recorder + Send + Sync> {
        Arc::clone(&self.recorder) as Arc<dyn Recorder + Send + Sync>
    }

    /// Everything recorded so far, in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// A service for `/metrics`, for any server on `http` 1.
    #[must_use]
    pub fn service(&self) -> MetricsService {
        MetricsService::new(self.handle.clone())
    }

    /// Ends the upkeep thread. Call it when nothing is recorded any more.
    pub fn shutdown(&self) {
        self.upkeep
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    pub(super) fn keep_until_shutdown(&self) {
        *INSTALLED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&self.upkeep));
    }
}

pub(super) fn build(options: &Options) -> Result<(Arc<PrometheusRecorder>, Exporter), Error> {
    check(options)?;
    let mut builder = PrometheusBuilder::new().with_recommended_naming(true);
    builder = with_buckets(builder, "", GENERAL)?;
    for spec in ALL.iter().filter(|spec| spec.kind == Kind::Histogram) {
        let bounds = bounds(spec.buckets, thresholds(spec, options));
        builder = with_buckets(builder, spec.name.otel, &bounds)?;
        builder = with_buckets(builder, spec.name.short, &bounds)?;
    }
    for (metric, bounds) in &options.buckets {
        builder = with_buckets(builder, metric, bounds)?;
    }
    let recorder = Arc::new(
        builder
            .idle_timeout(MetricKindMask::ALL, options.idle_timeout)
            .build_recorder(),
    );
    let handle = recorder.handle();
    let upkeep = Upkeep::start(handle.clone(), options.upkeep)?;
    let exporter = Exporter {
        recorder: Arc::clone(&recorder),
        handle,
        upkeep: Arc::new(Mutex::new(Some(upkeep))),
    };
    Ok((recorder, exporter))
}

fn check(options: &Options) -> Result<(), Error> {
    const REMEDY: &str = "give a positive duration, or leave the option out for the default";
    if options.upkeep.is_zero() {
        return Err(Error::Zero {
            field: "upkeep",
            remedy: REMEDY,
        });
    }
    if options
        .query_thresholds
        .iter()
        .any(std::time::Duration::is_zero)
    {
        return Err(Error::Zero {
            field: "threshold",
            remedy: REMEDY,
        });
    }
    if options
        .idle_timeout
        .is_some_and(|timeout| timeout <= options.refresh)
    {
        return Err(Error::TooShort {
            field: "idle_timeout",
            least: options.refresh,
        });
    }
    Ok(())
}

fn thresholds<'o>(spec: &Spec, options: &'o Options) -> &'o [std::time::Duration] {
    match spec.name.short {
        "database_query_duration" => &options.query_thresholds,
        "http_request_duration" | "http_time_to_first_byte" => &options.request_thresholds,
        _ => &[],
    }
}

/// An empty name stands for every histogram without bounds of its own.
fn with_buckets(
    builder: PrometheusBuilder,
    metric: &'static str,
    bounds: &[f64],
) -> Result<PrometheusBuilder, Error> {
    if let Some(reason) = fault(bounds) {
        return Err(Error::Buckets { metric, reason });
    }
    let set = match metric {
        "" => builder.set_buckets(bounds),
        name => builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds),
    };
    set.map_err(|_| Error::Buckets {
        metric,
        reason: "the exporter does not take them",
    })
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}
