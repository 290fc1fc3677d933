//! What the benchmarks share: a runtime, a clock, a value, and a pattern of access.

use std::future::Future;
use std::time::Duration;

use criterion::Criterion;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

/// A runtime with two workers and everything switched on, as in a small service.
///
/// # Panics
///
/// When the operating system refuses a thread.
#[must_use]
pub fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder.build().expect("threads can be started")
}

/// Runs `work` as often as criterion asks, in one task on this thread, and returns the time of
/// all of it by criterion's own clock.
pub fn timed<M: Measurement, F: Future>(
    clock: &M,
    runtime: &Runtime,
    times: u64,
    mut work: impl FnMut() -> F,
) -> M::Value {
    runtime.block_on(async {
        let started = clock.start();
        for _ in 0..times {
            std::hint::black_box(work().await);
        }
        clock.end(started)
    })
}

/// Whether it is to be shown only that each benchmark still works, as criterion decides it: outside of `cargo bench`, or with `--test`.
#[must_use]
pub fn is_trial() -> bool {
    let told = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    told("--test") || !told("--bench")
}

/// CPU time of the measuring thread: what other programs do meanwhile does not count. For work
/// that neither waits nor leaves its thread.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct CpuTime;

impl CpuTime {
    /// A criterion that measures it.
    #[must_use]
    pub fn criterion() -> Criterion<Self> {
        Criterion::default().with_measurement(Self::default())
    }

    fn now() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, started: Duration) -> Duration {
        Self::now().saturating_sub(started)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// Single times, for what is judged by its slowest and not by its mean.
///
/// ```
/// use std::time::Duration;
/// use bilten_benches::Latencies;
///
/// let mut all = Latencies::default();
/// let sum = all.sum_of(3, || Duration::from_micros(20));
/// assert_eq!(sum, Duration::from_micros(60));
/// assert_eq!(all.to_string(), "median 20.0 us, p99 20.0 us of 3");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    all: Vec<Duration>,
}

impl Latencies {
    /// Keeps one time.
    pub fn add(&mut self, time: Duration) {
        self.all.push(time);
    }

    /// Measures so often and keeps each time; returns their sum, as criterion wants it.
    pub fn sum_of(&mut self, times: u64, mut measure: impl FnMut() -> Duration) -> Duration {
        let before = self.all.len();
        for _ in 0..times {
            self.all.push(measure());
        }
        self.all[before..].iter().sum()
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.all.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let at = sorted.len().saturating_sub(1) * percent / 100;
            sorted.get(at).copied().unwrap_or_default().as_secs_f64() * 1e6
        };
        let (median, p99) = (at(50), at(99));
        write!(
            f,
            "median {median:.1} us, p99 {p99:.1} us of {}",
            sorted.len()
        )
    }
}

/// A row of an ordinary table: ten fields, about 500 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Item {
    id: u64,
    version: u64,
    title: String,
    summary: String,
    place: String,
    organiser: String,
    starts_at: i64,
    price_cents: u32,
    tags: Vec<String>,
    is_public: bool,
}

impl Item {
    /// The row with this id.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self {
            id,
            version: 1,
            title: format!("Evening of chamber music number {id}"),
            summary: "Three quartets, an interval with soup, and a short talk about the \
                      instruments. Doors open half an hour before the first piece; the hall \
                      is heated, the benches are not soft, and children sit in front."
                .to_owned(),
            place: format!("Hall {}, Harbour Street {}", id % 7, id % 90),
            organiser: "Society of Friends of Small Ensembles".to_owned(),
            starts_at: 1_790_000_000,
            price_cents: 1_250,
            tags: ["music", "evening", "indoors"].map(str::to_owned).to_vec(),
            is_public: true,
        }
    }
}

/// `prefix:0` to `prefix:{count - 1}`.
#[must_use]
pub fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}:{n}")).collect()
}

/// An endless walk over indices below `keys`, Zipf-distributed with exponent 0.99.
///
/// The walk repeats after a million steps; drawing while the clock runs would be measured.
#[derive(Debug)]
pub struct Walk {
    trace: Vec<u32>,
    at: usize,
}

impl Walk {
    /// A walk over `keys` indices, the same one every time.
    #[must_use]
    pub fn over(keys: u32) -> Self {
        let mut random = fastrand::Rng::with_seed(0x5EED);
        let mut scattered: Vec<u32> = (0..keys).collect();
        random.shuffle(&mut scattered);
        let mut total = 0.0;
        let cumulative: Vec<f64> = (1..=keys)
            .map(|rank| {
                total += f64::from(rank).powf(-0.99);
                total
            })
            .collect();
        let mut draw = || {
            let drawn = random.f64() * total;
            let rank = cumulative.partition_point(|&sum| sum < drawn);
            scattered[rank.min(scattered.len() - 1)]
        };
        let trace = (0..1 << 20).map(|_| draw()).collect();
        Self { trace, at: 0 }
    }

    /// The next index.
    pub fn step(&mut self) -> usize {
        self.at = (self.at + 1) % self.trace.len();
        self.trace[self.at] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_about_500_bytes() {
        let debug = format!("{:?}", Item::new(12_345));
        assert!((400..=650).contains(&debug.len()), "{}", debug.len());
    }

    #[test]
    fn a_walk_stays_within_its_keys_and_prefers_some() {
        let mut walk = Walk::over(100);
        let mut visits = [0_u32; 100];
        for _ in 0..10_000 {
            visits[walk.step()] += 1;
        }
        let most = visits.iter().max().copied().unwrap_or(0);
        assert!(most > 10 * visits.iter().min().copied().unwrap_or(0));
    }
}
