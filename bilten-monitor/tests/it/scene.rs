//! A monitor with an exporter of its own, and a clock that the test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bilten_monitor::alert::{AlertReceiver, ChannelSink};
use bilten_monitor::prometheus::{Exporter, Options};
use bilten_monitor::{Clock, Monitor, MonitorBuilder};

use crate::scrape::Scrape;

/// No wait in a test is longer.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A clock that only moves when it is told to.
#[derive(Clone, Default)]
pub(crate) struct Turned(Arc<AtomicU64>);

impl Turned {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(
            u64::try_from(by.as_nanos()).expect("short"),
            Ordering::SeqCst,
        );
    }
}

impl Clock for Turned {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

/// Everything a test looks at.
pub(crate) struct Scene {
    pub(crate) monitor: Monitor,
    pub(crate) clock: Turned,
    pub(crate) exporter: Exporter,
    pub(crate) alerts: AlertReceiver,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(configure: impl FnOnce(MonitorBuilder) -> MonitorBuilder) -> Self {
        let exporter = Exporter::local(Options::default()).expect("an exporter");
        let (sink, alerts) = ChannelSink::new(10_000);
        let clock = Turned::default();
        let builder = Monitor::builder()
            .recorder(exporter.recorder())
            .clock(clock.clone())
            .alert_sink(sink);
        let monitor = configure(builder).build().expect("a monitor");
        Self {
            monitor,
            clock,
            exporter,
            alerts,
        }
    }

    pub(crate) fn scrape(&self) -> Scrape {
        Scrape::parse(&self.exporter.render())
    }

    /// Every alert raised so far.
    pub(crate) fn alerts(&self) -> Vec<bilten_monitor::alert::Alert> {
        assert!(self.monitor.flush(SOON), "the sinks keep up");
        std::iter::from_fn(|| self.alerts.try_next()).collect()
    }
}

/// Asks again and again until the answer is yes.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Threads of this process with this name.
pub(crate) fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    // The kernel keeps 15 bytes of a name.
    names
        .filter(|comm| comm.trim() == &name[..name.len().min(15)])
        .count()
}
