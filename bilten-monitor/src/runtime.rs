//! How busy a tokio runtime is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram};
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::monitor::Monitor;
use crate::names::{
    RUNTIME_BUSIEST, RUNTIME_BUSY, RUNTIME_DELAY, RUNTIME_QUEUE, RUNTIME_TASKS, RUNTIME_WORKERS,
};
use crate::registry::{Cached, Registry};
use crate::slots::Watched;
use crate::stats::{Recent, Side};

impl Monitor {
    /// Shows how busy a tokio runtime is: workers, tasks, queue, the share of time its workers were busy, and how
    /// long a task waits for its turn. Looked at once each watchdog period (1 s), by one tiny task.
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
    delay: Arc<Cached<Histogram>>,
    last: Mutex<Load>,
}

/// How long each worker had been busy at a moment.
struct Load {
    at: Instant,
    busy: Vec<Duration>,
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
            delay: Arc::new(Cached::new(registry.ids(&RUNTIME_DELAY, &[]))),
            last: Mutex::new(Load::of(&handle.metrics())),
            registry: Arc::clone(registry),
            handle,
        }
    }

    /// A task that does nothing but tell how long it waited.
    fn measure_delay(&self, now: u64) {
        let (delay, registry) = (Arc::clone(&self.delay), Arc::clone(&self.registry));
        let asked = Instant::now();
        self.handle.spawn(async move {
            let waited = asked.elapsed().as_secs_f64();
            delay.each(&registry, now, |histogram| histogram.record(waited));
        });
    }
}

impl Load {
    fn of(metrics: &RuntimeMetrics) -> Self {
        let busy = |worker| metrics.worker_total_busy_duration(worker);
        Self {
            at: Instant::now(),
            busy: (0..metrics.num_workers()).map(busy).collect(),
        }
    }

    /// The share of the time since `before` that all workers, and that the busiest one, were busy.
    fn since(&self, before: &Self) -> (f64, f64) {
        let took = self.at.duration_since(before.at).as_secs_f64().max(1e-9);
        let worked = self.busy.iter().zip(&before.busy);
        // A worker reports when it pauses, so a long stretch may arrive in one period.
        let share = |(now, then): (&Duration, &Duration)| {
            (now.saturating_sub(*then).as_secs_f64() / took).min(1.0)
        };
        let shares: Vec<f64> = worked.map(share).collect();
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
        show(&self.workers, metrics.num_workers() as f64);
        show(&self.tasks, metrics.num_alive_tasks() as f64);
        show(&self.queue, metrics.global_queue_depth() as f64);
        show(&self.busy, all);
        show(&self.busiest, busiest);
        self.measure_delay(now);
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
    fn a_load_is_the_share_of_the_time_since_the_last_look() {
        let at = Instant::now();
        let millis = Duration::from_millis;
        let before = Load {
            at,
            busy: vec![millis(100), millis(0)],
        };
        let after = Load {
            at: at + millis(1000),
            busy: vec![millis(600), millis(3000)],
        };
        let (all, busiest) = after.since(&before);
        assert!((all - 0.75).abs() < 1e-9, "{all}");
        assert!((busiest - 1.0).abs() < 1e-9, "{busiest}");
    }
}
