//! The last alerts, kept for the service's own pages.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Alert;

/// Alerts that are kept; the rate limit lets far fewer pass in a minute.
const KEPT: usize = 64;

/// Written only when an alert passes the rate limit, so its lock is off every hot path.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    kept: Mutex<VecDeque<Arc<Alert>>>,
    put: AtomicU64,
}

impl Shelf {
    pub(super) fn put(&self, alert: &Arc<Alert>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front(Arc::clone(alert));
        self.put.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn newest(&self) -> Vec<Arc<Alert>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }

    /// How many were ever put: another number means that there is something new.
    #[cfg_attr(
        not(feature = "dashboard"),
        expect(dead_code, reason = "only the live page looks again and again")
    )]
    pub(crate) fn version(&self) -> u64 {
        self.put.load(Ordering::Acquire)
    }
}
