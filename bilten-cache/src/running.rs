//! That a load which was asked for runs at last.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Of one key in one call of a loader.
#[derive(Debug, Default)]
pub(crate) struct Running {
    begun: AtomicBool,
    told: Notify,
}

impl Running {
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        self.told.notify_one();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Waits for it. There is only one who does.
    pub(crate) async fn begins(&self) {
        while !self.has_begun() {
            self.told.notified().await;
        }
    }
}
