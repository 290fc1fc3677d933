//! That a load which was asked for runs at last.

use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Of one key in one call of a loader.
#[derive(Debug, Default)]
pub(crate) struct Running {
    begun: OnceLock<Instant>,
    told: Notify,
}

impl Running {
    pub(crate) fn begin(&self) {
        self.begun.get_or_init(Instant::now);
        self.told.notify_one();
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.since().is_some()
    }

    pub(crate) fn since(&self) -> Option<Instant> {
        self.begun.get().copied()
    }

    /// Waits for it. There is only one who does.
    pub(crate) async fn begins(&self) {
        while !self.has_begun() {
            self.told.notified().await;
        }
    }
}
