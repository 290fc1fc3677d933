//! What a run knows of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a running check knows about its run.
///
/// Cheap to clone. A check whose work can outlive its future (a blocking thread, a spawned task) keeps a clone in that work:
/// as long as a clone lives, the run counts as alive and no second one is started.
///
/// ```
/// use bilten_health::{Check, CheckContext, Verdict};
///
/// struct Disk;
///
/// impl Check for Disk {
///     async fn check(&self, context: &CheckContext) -> Verdict {
///         let alive = context.clone();
///         let work = tokio::task::spawn_blocking(move || {
///             let _alive = alive; // dropped when the thread is done, not when the future is
///             std::fs::metadata("/").map(|_| ())
///         });
///         match work.await {
///             Ok(Ok(())) => Verdict::up(),
///             Ok(Err(error)) => Verdict::failed(&error),
///             Err(error) => Verdict::failed(&error),
///         }
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CheckContext {
    timeout: Duration,
    _alive: Arc<Alive>,
}

impl CheckContext {
    pub(crate) fn new(timeout: Duration, alive: Alive) -> Self {
        Self {
            timeout,
            _alive: Arc::new(alive),
        }
    }

    /// How long this run may take before the runner gives up.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Four fifths of the timeout: what to allow a client, so that its own error arrives before the runner gives up.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.timeout - self.timeout / 5
    }
}

/// Says "this run has ended" when the last clone is gone, however it goes.
#[derive(Debug)]
pub(crate) struct Alive(Arc<AtomicBool>);

impl Alive {
    /// Marks the run alive; none when an earlier one still is.
    pub(crate) fn begin(flag: &Arc<AtomicBool>) -> Option<Self> {
        let free = flag.compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        free.ok().map(|_| Self(Arc::clone(flag)))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
