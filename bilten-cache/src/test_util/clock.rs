use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::CacheBuilder;
use crate::clock::{Clock, nanos};

/// The time by which a cache judges how fresh an entry is. It stands still until it is moved.
///
/// A second level has a time of its own, by which it tells how old its values are: [`FaultyRemote::with_clock`](super::FaultyRemote::with_clock).
///
/// Time limits of calls and loads follow tokio's clock, which tests pause with `tokio::time::pause`.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    now: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that has just been started.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(nanos(by), Ordering::Relaxed);
    }

    /// Since it was started.
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }
}

impl CacheBuilder {
    /// Uses a clock that the test moves, instead of the system's monotonic clock.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::moved_by(Arc::clone(&clock.now));
        self
    }
}
