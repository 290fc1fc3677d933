//! A monitor with an exporter of its own, and a clock that the test turns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bilten_monitor::alert::{AlertReceiver, ChannelSink};
use bilten_monitor::prometheus::{Exporter, Options};
use bilten_monitor::{Clock, Monitor, MonitorBuilder};
use tracing_subscriber::fmt::MakeWriter;

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
            // Between a turn of the clock and the end of what ran meanwhile, the watchdog of a busy machine would find
            // it running still. Who wants that says so.
            .watchdog(None)
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

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = tracing_subscriber::fmt().with_writer(self.clone());
        writer.with_ansi(false).finish()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
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
