//! Reads that have no answer yet.

use crate::stats::RegionMeters;

/// So many reads that wait. Each is counted where its answer comes from; those that still have none when this is dropped were given up
/// by their caller. A read that need not wait has none of these, and does not pay for it.
#[derive(Debug)]
pub(crate) struct Reading<'r> {
    meters: &'r RegionMeters,
    left: usize,
}

impl<'r> Reading<'r> {
    pub(crate) fn of(meters: &'r RegionMeters, left: usize) -> Self {
        Self { meters, left }
    }

    /// One of them has its answer, which is counted.
    pub(crate) fn done(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// One of them, which goes on by itself.
    pub(crate) fn one(&mut self) -> Self {
        self.done();
        Self::of(self.meters, 1)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.meters.cancelled.add(self.left as u64);
        }
    }
}
