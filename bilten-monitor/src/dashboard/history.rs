//! What the page's curves are drawn from: five minutes in seconds, an hour in steps of twelve.

use std::time::Duration;

use serde::Serialize;

use super::number::{millis, rate};
use super::ring::Ring;
use crate::stats::Counts;

/// Points of each curve.
const POINTS: usize = 300;
/// Seconds in one step of the hour.
const STEP: u32 = 12;

/// All requests, or all queries, of one stretch of time.
#[derive(Debug)]
pub(super) struct Load {
    times: Counts,
    errors: u64,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            times: Counts::new(),
            errors: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.errors = 0;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.times.merge(&other.times);
        self.errors += other.errors;
    }

    /// Adds what is new of one name.
    pub(super) fn add(&mut self, errors: u64, new_times: impl FnOnce(&mut Counts)) {
        self.errors += errors;
        new_times(&mut self.times);
    }

    fn curve(&self, seconds: f64) -> Curve {
        let time = |per_mille| millis(Duration::from_nanos(self.times.quantile(per_mille)));
        Curve(
            rate(self.times.total(), seconds),
            rate(self.errors, seconds),
            time(500),
            time(950),
            time(990),
        )
    }
}

/// Operations and errors a second; p50, p95 and p99 in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Curve(
    pub(super) f32,
    pub(super) f32,
    pub(super) f32,
    pub(super) f32,
    pub(super) f32,
);

/// Reads of all caches: from memory, from the second level, from neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) memory: u64,
    pub(super) remote: u64,
    pub(super) missed: u64,
}

impl Reads {
    fn curve(self, seconds: f64) -> [f32; 3] {
        [self.memory, self.remote, self.missed].map(|reads| rate(reads, seconds))
    }
}

/// One moment of every curve: milliseconds since 1970, requests, queries, reads of the cache a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Point(
    pub(super) u64,
    pub(super) Curve,
    pub(super) Curve,
    pub(super) [f32; 3],
);

/// What happened between two looks.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) requests: Load,
    pub(super) queries: Load,
    pub(super) reads: Reads,
    pub(super) seconds: f64,
}

impl Stretch {
    pub(super) fn new() -> Self {
        Self {
            requests: Load::new(),
            queries: Load::new(),
            reads: Reads::default(),
            seconds: 0.0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.queries.clear();
        self.reads = Reads::default();
        self.seconds = 0.0;
    }

    fn merge(&mut self, other: &Self) {
        self.requests.merge(&other.requests);
        self.queries.merge(&other.queries);
        self.reads.memory += other.reads.memory;
        self.reads.remote += other.reads.remote;
        self.reads.missed += other.reads.missed;
        self.seconds += other.seconds;
    }

    fn point(&self, at: u64) -> Point {
        Point(
            at,
            self.requests.curve(self.seconds),
            self.queries.curve(self.seconds),
            self.reads.curve(self.seconds),
        )
    }
}

/// Both ranges. Their size never changes once they are full.
#[derive(Debug, Serialize)]
pub(super) struct History {
    minutes: Ring<Point>,
    hour: Ring<Point>,
    #[serde(skip)]
    gathered: Stretch,
    #[serde(skip)]
    steps: u32,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            minutes: Ring::new(POINTS),
            hour: Ring::new(POINTS),
            gathered: Stretch::new(),
            steps: 0,
        }
    }

    /// Takes one more second; the second point is there when it completed a step of the hour.
    pub(super) fn push(&mut self, at: u64, stretch: &Stretch) -> (Point, Option<Point>) {
        let point = stretch.point(at);
        self.minutes.push(point);
        self.gathered.merge(stretch);
        self.steps += 1;
        if self.steps < STEP {
            return (point, None);
        }
        let coarse = self.gathered.point(at);
        self.hour.push(coarse);
        self.gathered.clear();
        self.steps = 0;
        (point, Some(coarse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Histogram;

    fn second(times_ms: &[u64], errors: u64) -> Stretch {
        let mut stretch = Stretch::new();
        let histogram = Histogram::default();
        times_ms
            .iter()
            .for_each(|ms| histogram.record(ms * 1_000_000));
        stretch.requests.add(errors, |counts| {
            histogram.add_to(counts);
        });
        stretch.reads.memory = 2;
        stretch.seconds = 1.0;
        stretch
    }

    #[test]
    fn an_hours_step_has_the_percentiles_of_all_its_seconds() {
        let mut history = History::new();
        let mut coarse = None;
        for n in 0..u64::from(STEP) {
            assert_eq!(coarse, None);
            // Eleven quick seconds and a slow one: the median is quick, the 99th percentile is not.
            let ms = if n == 3 { 800 } else { 10 };
            coarse = history.push(n, &second(&[ms; 5], 1)).1;
        }
        let Point(at, Curve(rate, errors, p50, p95, p99), _, reads) = coarse.expect("a step");
        assert_eq!((at, rate, errors, reads), (11, 5.0, 1.0, [2.0, 0.0, 0.0]));
        assert!((10.0..11.0).contains(&p50), "{p50}");
        assert!(p95 >= 800.0 && p99 >= 800.0, "{p95} {p99}");
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::new();
        for at in 0..5000 {
            history.push(at, &second(&[], 0));
        }
        assert_eq!(history.minutes.iter().count(), POINTS);
        assert_eq!(history.hour.iter().count(), POINTS);
        assert_eq!(
            history.minutes.iter().map(|point| point.0).min(),
            Some(4700)
        );
    }
}
