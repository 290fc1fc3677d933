use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::registry::Registry;

/// What the handles of a cache and of its regions keep alive. The cache's own tasks end with it.
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) regions: Registry,
    tail: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    pub(crate) fn new(
        engine: Arc<Engine>,
        regions: Registry,
        tail: Option<JoinHandle<()>>,
    ) -> Self {
        Self {
            engine,
            regions,
            tail: Mutex::new(tail),
        }
    }

    /// Stops following the log.
    pub(crate) async fn stop_tail(&self) {
        let tail = self.tail().take();
        if let Some(tail) = tail {
            tail.abort();
            let _ = tail.await;
        }
    }

    fn tail(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(tail) = self.tail().take() else {
            return;
        };
        tail.abort();
        let waiting = self.engine.recovery.len();
        if waiting > 0 {
            tracing::warn!(cache = %self.engine.name, waiting, "dropped with invalidations that the second level does not know of");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.engine.name)
            .finish_non_exhaustive()
    }
}
