//! A statement of a node while it runs, counted however it ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::latency::Latency;
use crate::metrics::{NodeMetrics, Reason};

/// What a node counts in: statements that run, metrics, and how long they take.
type Counted<'a> = (&'a AtomicU32, &'a NodeMetrics, &'a Latency);

/// Counts a statement while it runs.
pub(crate) struct Running<'a> {
    counted: Counted<'a>,
    reason: Reason,
    begun: Instant,
    ended: bool,
}

impl<'a> Running<'a> {
    pub(crate) fn new(counted: Counted<'a>, reason: Reason) -> Self {
        let (in_flight, metrics, _) = counted;
        in_flight.fetch_add(1, Ordering::Relaxed);
        metrics.begun();
        Self {
            counted,
            reason,
            begun: Instant::now(),
            ended: false,
        }
    }

    /// How long it ran.
    pub(crate) fn end(mut self) -> Duration {
        self.ended = true;
        self.begun.elapsed()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let (in_flight, metrics, latency) = self.counted;
        in_flight.fetch_sub(1, Ordering::Relaxed);
        metrics.ended();
        if !self.ended {
            metrics.cancelled(self.reason);
            // Nobody waited for the end, but it took this long at least: so the loser of a hedge is known to be slow.
            latency.at_least(Instant::now(), self.begun.elapsed());
        }
    }
}
