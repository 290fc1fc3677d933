use std::sync::Arc;
use std::time::Duration;

use metrics::{Gauge, gauge};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::status::{Connection, Status};

const OFTEN: Duration = Duration::from_secs(1);

/// The state of a cache as metrics, once a second.
#[derive(Clone)]
pub(crate) struct Gauges {
    memory: InMemory,
    connected: Gauge,
    log_position: Gauge,
    log_lag: Gauge,
    log_age: Gauge,
    markers: Gauge,
    waiting: Gauge,
    /// Only where there is a disk.
    disk_bytes: Option<Gauge>,
}

/// What a cache without a second level has as well.
#[derive(Clone)]
struct InMemory {
    entries: Gauge,
    bytes: Gauge,
}

/// Shows what a cache in memory alone holds, where there is a runtime to do it.
pub(crate) fn start(engine: &Arc<Engine>) -> Option<JoinHandle<()>> {
    let runtime = Handle::try_current().ok()?;
    let engine = Arc::clone(engine);
    let gauges = InMemory::new(&[("cache", engine.name.to_string())]);
    Some(runtime.spawn(async move {
        loop {
            gauges.show(&Status::of(&engine));
            tokio::time::sleep(OFTEN).await;
        }
    }))
}

impl InMemory {
    fn new(labels: &[(&'static str, String)]) -> Self {
        Self {
            entries: gauge!("bilten_cache_memory_entries", labels),
            bytes: gauge!("bilten_cache_memory_bytes", labels),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn show(&self, status: &Status) {
        self.entries.set(status.memory_entries as f64);
        self.bytes.set(status.memory_bytes as f64);
    }
}

impl Gauges {
    pub(crate) fn new(engine: &Engine) -> Self {
        let labels = [("cache", engine.name.to_string())];
        let has_disk = engine.disk_bytes().is_some();
        Self {
            memory: InMemory::new(&labels),
            connected: gauge!("bilten_cache_connected", &labels),
            log_position: gauge!("bilten_cache_log_position", &labels),
            log_lag: gauge!("bilten_cache_log_lag_records", &labels),
            log_age: gauge!("bilten_cache_log_age_seconds", &labels),
            markers: gauge!("bilten_cache_markers", &labels),
            waiting: gauge!("bilten_cache_waiting", &labels),
            disk_bytes: has_disk.then(|| gauge!("bilten_cache_disk_bytes", &labels)),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn show(&self, status: &Status) {
        self.memory.show(status);
        let connected = status.connection == Connection::Connected;
        self.connected.set(f64::from(u8::from(connected)));
        self.log_position.set(status.log_position as f64);
        self.log_lag.set(status.log_lag as f64);
        if let Some(age) = status.log_age {
            self.log_age.set(age.as_secs_f64());
        }
        self.markers.set(status.markers as f64);
        self.waiting.set(status.waiting as f64);
        if let (Some(gauge), Some(bytes)) = (&self.disk_bytes, status.disk_bytes) {
            gauge.set(bytes as f64);
        }
    }
}
