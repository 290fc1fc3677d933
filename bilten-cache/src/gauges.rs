use metrics::{Gauge, gauge};

use crate::status::{Connection, Status};

/// The state of a cache with a second level, once a second.
#[derive(Clone)]
pub(crate) struct Gauges {
    connected: Gauge,
    log_position: Gauge,
    log_lag: Gauge,
    log_age: Gauge,
    markers: Gauge,
    waiting: Gauge,
}

impl Gauges {
    pub(crate) fn new(cache: &str) -> Self {
        let labels = [("cache", cache.to_owned())];
        Self {
            connected: gauge!("bilten_cache_connected", &labels),
            log_position: gauge!("bilten_cache_log_position", &labels),
            log_lag: gauge!("bilten_cache_log_lag_records", &labels),
            log_age: gauge!("bilten_cache_log_age_seconds", &labels),
            markers: gauge!("bilten_cache_markers", &labels),
            waiting: gauge!("bilten_cache_waiting", &labels),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn show(&self, status: &Status) {
        let connected = status.connection == Connection::Connected;
        self.connected.set(f64::from(u8::from(connected)));
        self.log_position.set(status.log_position as f64);
        self.log_lag.set(status.log_lag as f64);
        if let Some(age) = status.log_age {
            self.log_age.set(age.as_secs_f64());
        }
        self.markers.set(status.markers as f64);
        self.waiting.set(status.waiting as f64);
    }
}
