//! The thread that folds recorded values into buckets; without it an exporter keeps every single value.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;

use crate::error::Error;

const THREAD: &str = "bilten-metrics";

/// Ends its thread when it is dropped.
#[derive(Debug)]
pub(super) struct Upkeep(Arc<Stop>);

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Upkeep {
    pub(super) fn start(handle: PrometheusHandle, period: Duration) -> Result<Self, Error> {
        let stop = Arc::new(Stop::default());
        let asked = Arc::clone(&stop);
        let run = move || {
            while !asked.within(period) {
                handle.run_upkeep();
            }
        };
        std::thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(run)
            .map_err(|source| Error::Thread {
                name: THREAD,
                source,
            })?;
        Ok(Self(stop))
    }
}

impl Stop {
    /// Waits for one period; `true` when the thread is to end.
    fn within(&self, period: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .changed
            .wait_timeout_while(asked, period, |asked| !*asked)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        *self.0.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}
