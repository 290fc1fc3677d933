//! What discovery brought, kept for the status.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::status::DiscoveryStatus;

/// `None` while nothing is discovered.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<Option<DiscoveryStatus>>);

impl Findings {
    pub(crate) fn get(&self) -> Option<DiscoveryStatus> {
        self.slot().clone()
    }

    /// `true` when it is another one than before.
    pub(crate) fn set(&self, found: &DiscoveryStatus) -> bool {
        let mut slot = self.slot();
        let is_new = slot.as_ref() != Some(found);
        if is_new {
            *slot = Some(found.clone());
        }
        is_new
    }

    fn slot(&self) -> MutexGuard<'_, Option<DiscoveryStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
