//! Clocks, allocation counts and medians.

use std::time::{Duration, Instant};

use alloc_tracker::{Allocator, Operation, Session};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// CPU time of the calling thread: what other programs do meanwhile does not count.
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    pub(crate) fn start() -> Self {
        Self(Self::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::now().saturating_sub(self.0)
    }

    fn now() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }
}

/// Counts the allocations of the whole process, background tasks of the peer included.
pub(crate) struct Allocations {
    session: Session,
    operation: Operation,
}

impl Allocations {
    pub(crate) fn counter() -> Self {
        let session = Session::new().no_stdout().no_file();
        let operation = session.operation("work");
        Self { session, operation }
    }

    /// Runs `work` and returns its result with the number of allocations per unit.
    pub(crate) async fn per<T>(self, units: usize, work: impl Future<Output = T>) -> (T, f64) {
        let span = self.operation.measure_process();
        let result = work.await;
        drop(span.iterations(units as u64));
        let report = self.session.to_report();
        let per_unit = report
            .operations()
            .find_map(|(_, operation)| operation.allocations());
        (result, per_unit.unwrap_or(f64::NAN))
    }
}

/// Runs `work` and returns its result with the microseconds of wall time per unit.
pub(crate) async fn wall_per<T>(units: usize, work: impl Future<Output = T>) -> (T, f64) {
    let started = Instant::now();
    let result = work.await;
    (result, started.elapsed().as_secs_f64() * 1e6 / units as f64)
}

/// Median and extremes of the rounds of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` without a single figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|f| f.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let upper = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[upper - 1], sorted[upper])
        } else {
            sorted[upper]
        };
        Some(Self { median, min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_not_moved_by_one_wild_round() {
        let spread = Spread::of([3.0, 900.0, 2.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 3.0,
                min: 2.0,
                max: 900.0
            }
        );
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn allocations_are_counted() {
        let (_, none) = Allocations::counter()
            .per(1, async { std::hint::black_box(1) })
            .await;
        let work = async {
            for n in 0..1_000_u64 {
                std::hint::black_box(Box::new(n));
            }
        };
        let ((), one) = Allocations::counter().per(1_000, work).await;
        // Other tests of this process may allocate at the same time: only lower bounds are exact.
        assert!(none >= 0.0 && one >= 1.0, "{none} {one}");
    }
}
