//! How a monitor is configured.

mod check;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::Recorder;

use crate::alert::{AlertSink, Desk, Policy, TraceId, TraceOf, TracingSink};
use crate::budget::Budget;
use crate::clock::{Clock, Time};
use crate::error::Error;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::monitor::Monitor;
use crate::names::Naming;
use crate::nanos::nanos;
use crate::outbox::Outbox;
use crate::registry::Registry;
use crate::repeats::Rule;
use crate::sample::{MetricSink, Sample};
use crate::tally::{Loss, Tallies};
use crate::watchdog;

/// Configures a [`Monitor`]. Everything has a default; [`build`](Self::build) checks what was set.
///
/// ```
/// use std::time::Duration;
/// use bilten_monitor::{Monitor, alert::TracingSink};
///
/// let monitor = Monitor::builder()
///     .slow_query(Duration::from_millis(50))
///     .slow_query_for("yearly_report", Duration::from_secs(5))
///     .slow_request(Duration::from_secs(1))
///     .alert_sink(TracingSink)
///     .build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct MonitorBuilder {
    limits: Limits,
    duplicate: Option<(&'static str, &'static str)>,
    alert_sinks: Vec<Box<dyn AlertSink>>,
    alert_window: Duration,
    alert_burst: u32,
    alert_queue: usize,
    recovery_notices: bool,
    trace_of: Option<TraceOf>,
    objective: Option<f64>,
    metric_sinks: Vec<Box<dyn MetricSink>>,
    metric_queue: usize,
    max_label_values: usize,
    naming: Naming,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    refresh_handles: Duration,
    watchdog: Option<Duration>,
    clock: Time,
}

impl Monitor {
    /// Starts a configuration.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder {
            limits: Limits::default(),
            duplicate: None,
            alert_sinks: Vec::new(),
            alert_window: Duration::from_secs(60),
            alert_burst: 20,
            alert_queue: 1024,
            recovery_notices: false,
            trace_of: None,
            objective: None,
            metric_sinks: Vec::new(),
            metric_queue: 8192,
            max_label_values: 100,
            naming: Naming::default(),
            recorder: None,
            refresh_handles: Duration::from_secs(10),
            watchdog: Some(Duration::from_secs(1)),
            clock: Time::system(),
        }
    }
}

impl MonitorBuilder {
    /// A query that takes longer raises an alert. Defaults to 100 ms; `None` turns it off.
    pub fn slow_query(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.limits.query = threshold.into();
        self
    }

    /// A threshold of its own for one query name. It is a bucket bound of the exporter made for this monitor.
    pub fn slow_query_for(mut self, name: &'static str, threshold: Duration) -> Self {
        if self.limits.queries.insert(name, threshold).is_some() {
            self.duplicate.get_or_insert(("slow_query_for", name));
        }
        self
    }

    /// A request that takes longer raises an alert. Defaults to 1 s; `None` turns it off.
    pub fn slow_request(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.limits.request = threshold.into();
        self
    }

    /// A threshold of its own for one route pattern, such as a long poll or an upload.
    pub fn slow_request_for(mut self, route: &'static str, threshold: Duration) -> Self {
        if self.limits.routes.insert(route, threshold).is_some() {
            self.duplicate.get_or_insert(("slow_request_for", route));
        }
        self
    }

    /// How often to look for queries and requests that are over their threshold and still running. Defaults to
    /// 1 s; `None` turns it off.
    ///
    /// Of each name 64 operations are watched at a time; one that begins while there are so many is measured and not
    /// watched. One thread looks after all of them; it is there in any case, for recovery notices, the error budget and
    /// the runtime.
    pub fn watchdog(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.watchdog = period.into();
        self
    }

    /// Raises an alert when one request or [scope](Monitor::scope) runs the same query at least `count` times,
    /// one after the other, for more than `total` together. Off by default; 5 and 50 ms are a good start.
    /// Of one request the first 64 different queries are counted, and none that goes to `other`.
    pub fn n_plus_one(mut self, count: u32, total: Duration) -> Self {
        self.limits.n_plus_one = Some(Rule { count, total });
        self
    }

    /// Adds a sink for alerts. Without one, alerts go to [`TracingSink`].
    pub fn alert_sink(mut self, sink: impl AlertSink) -> Self {
        self.alert_sinks.push(Box::new(sink));
        self
    }

    /// After an alert, the next one of the same kind and subject waits this long. Defaults to 60 s.
    pub fn alert_window(mut self, window: Duration) -> Self {
        self.alert_window = window;
        self
    }

    /// At most so many alerts in one window, over all kinds and subjects. Defaults to 20.
    ///
    /// When a window had no room, one alert more
    /// ([`TooManyAlerts`](crate::alert::AlertKind::TooManyAlerts)) names up to 16 subjects that were held back once
    /// it is over.
    pub fn alert_burst(mut self, alerts: u32) -> Self {
        self.alert_burst = alerts;
        self
    }

    /// Alerts that wait for one sink before further ones are dropped and counted. Defaults to 1024.
    pub fn alert_queue(mut self, alerts: usize) -> Self {
        self.alert_queue = alerts;
        self
    }

    /// Tells each sink once when nothing of an alert's kind and subject happened for a whole window. Off by default.
    ///
    /// For slow queries and requests, repeated queries and burning budgets. An operation that still runs ends with an
    /// alert of its own, and too many labels or alerts are no state that ends.
    pub fn recovery_notices(mut self, on: bool) -> Self {
        self.recovery_notices = on;
        self
    }

    /// Finds the trace of what runs on this thread, for alerts: a closure that asks the tracing library in use.
    ///
    /// Called only for an alert that passes. Without it, and where it finds none, the request's `traceparent`
    /// header is used.
    pub fn trace_id(
        mut self,
        trace_of: impl Fn() -> Option<TraceId> + Send + Sync + 'static,
    ) -> Self {
        self.trace_of = Some(Box::new(trace_of));
        self
    }

    /// The share of requests that is to succeed, such as 0.999. Off by default.
    ///
    /// Raises an alert when requests fail 14.4 times as fast as that allows over an hour and still over the last
    /// five minutes, or 6 times over six hours and thirty minutes; below ten failures there is none.
    pub const fn objective(mut self, success: f64) -> Self {
        self.objective = Some(success);
        self
    }

    /// Measures one in so many of a very frequent query, at most 10,000; that one stands for all of them. Defaults to every one.
    ///
    /// Counts stay right on average; a metric sink reads [`Sample::weight`]. What is not measured costs one addition, is not
    /// among the gauge's operations in flight, is not watched and raises no alert.
    pub fn sample_query(mut self, name: &'static str, one_in: u32) -> Self {
        if self.limits.sampled.insert(name, one_in).is_some() {
            self.duplicate.get_or_insert(("sample_query", name));
        }
        self
    }

    /// Adds a second place for every recorded value, beside the recorder.
    pub fn metric_sink(mut self, sink: impl MetricSink) -> Self {
        self.metric_sinks.push(Box::new(sink));
        self
    }

    /// Values that wait for one metric sink before further ones are dropped and counted. Defaults to 8192.
    pub fn metric_queue(mut self, samples: usize) -> Self {
        self.metric_queue = samples;
        self
    }

    /// Different query names, routes and metric series that are kept apart. Defaults to 100 of each.
    ///
    /// What is over is counted under `other`, and in `bilten.monitor.overflowed`; nothing is lost. Queries named to
    /// [`slow_query_for`](Self::slow_query_for) or [`sample_query`](Self::sample_query) have places of their own.
    pub fn max_label_values(mut self, values: usize) -> Self {
        self.max_label_values = values;
        self
    }

    /// Which names the metrics carry. Defaults to OpenTelemetry's.
    pub fn naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// The recorder to use. Defaults to the process's own, whenever it is installed.
    ///
    /// What is observed before there is one goes to no exporter; it is counted in
    /// [`Losses::unrecorded`](crate::Losses::unrecorded), and in the recorder once that is there. A recorder that one
    /// thread has in place of the process's (`metrics::with_local_recorder`) gets what is observed on that thread
    /// meanwhile, unless the process's is [our exporter](crate::prometheus) and was seen first: that one then gets
    /// everything. A recorder given here gets everything, on every thread.
    pub fn recorder(mut self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// How long a handle of the recorder is used before it is asked for again. Defaults to 10 s.
    ///
    /// Keep it below an exporter's idle timeout, or samples of a forgotten series are lost. Our own exporter never
    /// forgets one that is held, so its handles are kept for good. Another recorder in its place is noticed at once,
    /// whatever this says. Up to a second after the process's own recorder was installed every observation asks for its
    /// handle.
    pub fn refresh_handles(mut self, period: Duration) -> Self {
        self.refresh_handles = period;
        self
    }

    /// The clock to read. Defaults to the system's monotonic clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Time::Custom(Box::new(clock));
        self
    }

    /// Builds the monitor and starts a thread for each sink.
    ///
    /// # Errors
    ///
    /// [`Error::Zero`], [`Error::EmptyName`] and [`Error::Duplicate`] name the setter; [`Error::Thread`] when
    /// the system gives no thread.
    pub fn build(self) -> Result<Monitor, Error> {
        self.validate()?;
        let registry = Arc::new(Registry::new(
            self.recorder,
            self.naming,
            nanos(self.refresh_handles),
        ));
        let time = Arc::new(self.clock);
        let tallies = Arc::new(Tallies::new(Arc::clone(&registry), Arc::clone(&time)));
        let policy = Policy {
            window: self.alert_window,
            burst: self.alert_burst,
            notices: self.recovery_notices,
            trace_of: self.trace_of,
        };
        let mut desk = Desk::new(policy, Arc::clone(&tallies));
        if self.alert_sinks.is_empty() {
            desk.add(Box::new(TracingSink), self.alert_queue)?;
        }
        for sink in self.alert_sinks {
            desk.add(sink, self.alert_queue)?;
        }
        let samples = self
            .metric_sinks
            .into_iter()
            .map(|sink| outbox(sink, self.metric_queue, &tallies));
        let hub = Arc::new(Hub {
            time,
            registry,
            desk,
            samples: samples.collect::<Result<_, _>>()?,
            tallies,
            limits: self.limits,
            max_labels: self.max_label_values,
            shared: Mutex::default(),
            watched: Mutex::default(),
            kept: Mutex::default(),
            budget: self.objective.map(Budget::new),
            showing: Mutex::default(),
        });
        hub.announce();
        hub.begin();
        watchdog::start(&hub, self.watchdog)?;
        Ok(Monitor::new(hub))
    }
}

fn outbox(
    sink: Box<dyn MetricSink>,
    queue: usize,
    tallies: &Arc<Tallies>,
) -> Result<Outbox<Sample>, Error> {
    let tallies = Arc::clone(tallies);
    let is_told = AtomicBool::new(false);
    let failed = move |why: &str| {
        if !is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "bilten_monitor", why, "a metric sink fails; further failures are only counted");
        }
        tallies.count(Loss::SinkFailure);
    };
    Outbox::start(
        "bilten-samples",
        queue,
        move |sample: Sample| sink.observe(&sample),
        failed,
    )
}

impl fmt::Debug for MonitorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonitorBuilder")
            .field("limits", &self.limits)
            .field("naming", &self.naming)
            .field("max_label_values", &self.max_label_values)
            .finish_non_exhaustive()
    }
}
