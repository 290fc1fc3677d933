//! How busy a tokio runtime is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram};
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::monitor::Monitor;
use crate::names::{
    RUNTIME_BUSIEST, RUNTIME_BUSY, RUNTIME_DELAY, RUNTIME_QUEUE, RUNTIME_TASKS, RUNTIME_WORKERS,
};
use crate::registry::{Cached, Registry};
use crate::slots::Watched;
use crate::stats::{Busy, Recent, Side};

impl Monitor {
    /// Shows how busy a tokio runtime is: workers, tasks, queue, the share of time its workers were busy, and how
    /// long a task waits for its turn. Looked at once a second, by one tiny task.
    ///
    /// A runtime that is watched twice is shown once; of two runtimes the last one given is.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
    /// let monitor = bilten_monitor::Monitor::builder().build()?;
    /// monitor.watch_runtime(&tokio::runtime::Handle::current());
    /// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
    /// ```
    pub fn watch_runtime(&self, runtime: &Handle) {
        let hub = &self.inner().hub;
        hub.keep(Arc::new(Runtime::new(&hub.registry, runtime.clone())));
    }
}

struct Runtime {
    registry: Arc<Registry>,
    handle: Handle,
    workers: Cached<Gauge>,
    tasks: Cached<Gauge>,
    queue: Cached<Gauge>,
    busy: Cached<Gauge>,
    busiest: Cached<Gauge>,
    delay: Arc<Delay>,
    last: Mutex<Load>,
    shown: Mutex<Busy>,
}

/// How long a new task waits.
struct Delay {
    waited: Cached<Histogram>,
    probes: Mutex<Probes>,
}

#[derive(Default)]
struct Probes {
    last: Duration,
    /// The first task that still waits.
    oldest: Option<Instant>,
}

impl Probes {
    fn asked(&mut self, at: Instant) {
        self.oldest.get_or_insert(at);
    }

    fn answered(&mut self, asked: Instant, waited: Duration) {
        self.last = waited;
        self.oldest = self.oldest.filter(|oldest| *oldest > asked);
    }

    /// The longer of what the last task waited and what the first one waits that has had no turn yet.
    fn wait(&self, now: Instant) -> Duration {
        let still = self.oldest.map(|oldest| now.duration_since(oldest));
        still.unwrap_or_default().max(self.last)
    }
}

impl Delay {
    fn probes(&self) -> MutexGuard<'_, Probes> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each worker had done by a moment.
struct Load {
    at: Instant,
    workers: Vec<Worked>,
}

#[derive(Clone, Copy)]
struct Worked {
    busy: Duration,
    /// How often it paused and went on; even while it works.
    turns: u64,
}

impl Worked {
    /// The time since `before` that it was busy. It reports when it pauses: a long stretch may arrive in one period, and
    /// while it never pauses it reports nothing.
    fn since(self, before: Self, took: Duration) -> Duration {
        if self.turns == before.turns && self.turns.is_multiple_of(2) {
            return took;
        }
        self.busy.saturating_sub(before.busy).min(took)
    }
}

impl Runtime {
    fn new(registry: &Arc<Registry>, handle: Handle) -> Self {
        let gauge = |spec| Cached::new(registry.ids(spec, &[]));
        Self {
            workers: gauge(&RUNTIME_WORKERS),
            tasks: gauge(&RUNTIME_TASKS),
            queue: gauge(&RUNTIME_QUEUE),
            busy: gauge(&RUNTIME_BUSY),
            busiest: gauge(&RUNTIME_BUSIEST),
            delay: Arc::new(Delay {
                waited: Cached::new(registry.ids(&RUNTIME_DELAY, &[])),
                probes: Mutex::default(),
            }),
            shown: Mutex::default(),
            last: Mutex::new(Load::of(&handle.metrics())),
            registry: Arc::clone(registry),
            handle,
        }
    }

    /// A task that does nothing but tell how long it waited.
    fn measure_delay(&self, now: u64) {
        let (delay, registry) = (Arc::clone(&self.delay), Arc::clone(&self.registry));
        let asked = Instant::now();
        delay.probes().asked(asked);
        self.handle.spawn(async move {
            let waited = asked.elapsed();
            delay.probes().answered(asked, waited);
            let record = |histogram: &Histogram| histogram.record(waited.as_secs_f64());
            delay.waited.each(&registry, now, record);
        });
    }
}

impl Load {
    fn of(metrics: &RuntimeMetrics) -> Self {
        let worked = |worker| Worked {
            busy: metrics.worker_total_busy_duration(worker),
            turns: metrics.worker_park_unpark_count(worker),
        };
        Self {
            at: Instant::now(),
            workers: (0..metrics.num_workers()).map(worked).collect(),
        }
    }

    /// The share of the time since `before` that all workers, and that the busiest one, were busy.
    fn since(&self, before: &Self) -> (f64, f64) {
        let took = self.at.duration_since(before.at);
        let seconds = took.as_secs_f64().max(1e-9);
        let pairs = self.workers.iter().zip(&before.workers);
        let share =
            |(now, then): (&Worked, &Worked)| now.since(*then, took).as_secs_f64() / seconds;
        let shares: Vec<f64> = pairs.map(share).collect();
        #[expect(clippy::cast_precision_loss, reason = "a handful of workers")]
        let all = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        (all, shares.into_iter().fold(0.0, f64::max))
    }
}

impl Watched for Runtime {
    fn look(&self, _: u64) {}

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of tasks are far below 2^53"
    )]
    fn settle(&self, now: u64) {
        let metrics = self.handle.metrics();
        let load = Load::of(&metrics);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, busiest) = load.since(&last);
        *last = load;
        drop(last);
        let show = |gauge: &Cached<Gauge>, value: f64| {
            gauge.each(&self.registry, now, |gauge| gauge.set(value));
        };
        let busy = Busy {
            workers: metrics.num_workers(),
            tasks: metrics.num_alive_tasks(),
            queue: metrics.global_queue_depth(),
            busy: all,
            busiest,
            wait: self.delay.probes().wait(Instant::now()).as_secs_f64() * 1e3,
        };
        show(&self.workers, busy.workers as f64);
        show(&self.tasks, busy.tasks as f64);
        show(&self.queue, busy.queue as f64);
        show(&self.busy, busy.busy);
        show(&self.busiest, busy.busiest);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = busy;
        self.measure_delay(now);
    }

    #[cfg(feature = "dashboard")]
    fn busy(&self) -> Option<Busy> {
        Some(*self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn each(&self, _: &mut dyn FnMut(Side, &str, &Recent)) {}
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_still_waits_counts_as_long_as_it_has_waited() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut probes = Probes::default();
        probes.asked(start);
        probes.answered(start, Duration::from_millis(2));
        assert_eq!(probes.wait(start + second), Duration::from_millis(2));
        probes.asked(start + second);
        probes.asked(start + 2 * second);
        assert_eq!(probes.wait(start + 4 * second), 3 * second);
        probes.answered(start + second, 4 * second);
        probes.answered(start + 2 * second, 3 * second);
        assert_eq!(probes.wait(start + 6 * second), 3 * second);
    }

    #[test]
    fn a_load_is_the_share_of_the_time_since_the_last_look() {
        let at = Instant::now();
        let load = |after: u64, workers: [(u64, u64); 3]| Load {
            at: at + Duration::from_millis(after),
            workers: workers
                .map(|(busy, turns)| Worked {
                    busy: Duration::from_millis(busy),
                    turns,
                })
                .to_vec(),
        };
        let before = load(0, [(100, 2), (0, 4), (7, 5)]);
        let after = load(1000, [(600, 8), (3000, 6), (7, 5)]);
        let (all, busiest) = after.since(&before);
        assert!((all - 0.5).abs() < 1e-9, "{all}: a half, one and none");
        assert!((busiest - 1.0).abs() < 1e-9, "{busiest}");
    }

    #[test]
    fn a_worker_that_never_pauses_is_busy_though_it_reports_nothing() {
        let worked = |turns| Worked {
            busy: Duration::ZERO,
            turns,
        };
        let second = Duration::from_secs(1);
        assert_eq!(worked(4).since(worked(4), second), second);
        assert_eq!(
            worked(5).since(worked(5), second),
            Duration::ZERO,
            "it rests"
        );
    }
}
