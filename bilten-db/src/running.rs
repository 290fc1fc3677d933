//! A statement of a node while it runs, counted however it ends.

use std::time::{Duration, Instant};

use crate::flight::Flights;
use crate::latency::Latency;
use crate::metrics::{NodeMetrics, Reason};

/// What a node counts in: statements that run, metrics, and how long they take.
type Counted<'a> = (&'a Flights, &'a NodeMetrics, &'a Latency);

/// Counts a statement while it runs.
pub(crate) struct Running<'a> {
    counted: Counted<'a>,
    reason: Reason,
    begun: Instant,
    ended: bool,
}

impl<'a> Running<'a> {
    pub(crate) fn new(counted: Counted<'a>, reason: Reason) -> Self {
        counted.0.begin();
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
        let (flights, metrics, latency) = self.counted;
        flights.end();
        if !self.ended {
            metrics.cancelled(self.reason);
            // Nobody waited for the end, but it took this long at least: so the loser of a hedge is known to be slow.
            latency.at_least(Instant::now(), self.begun.elapsed());
        }
    }
}
