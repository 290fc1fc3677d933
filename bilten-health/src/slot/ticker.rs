//! The task that runs a background check.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Id;
use tokio::task::JoinHandle;

/// Ends its task when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    task: JoinHandle<()>,
    runtime: Id,
    gone: Arc<AtomicBool>,
}

impl Ticker {
    /// `gone` is set by the task's own end, whatever ends it.
    pub(crate) const fn new(task: JoinHandle<()>, runtime: Id, gone: Arc<AtomicBool>) -> Self {
        Self {
            task,
            runtime,
            gone,
        }
    }

    /// Whether its check needs no other one. In the runtime `here` it will go on; one of another runtime, which may have ended or be
    /// driven by nobody, has to have brought results that are not `too_old`.
    pub(crate) fn suffices(&self, here: Id, too_old: impl FnOnce() -> bool) -> bool {
        !self.gone.load(Ordering::SeqCst) && (self.runtime == here || !too_old())
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.task.abort();
    }
}
