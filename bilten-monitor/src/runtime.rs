//! How busy a tokio runtime is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram};
use tokio::runtime::{Handle, RuntimeFlavor, RuntimeMetrics};

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
    /// A runtime that is watched twice is shown once; of two runtimes the last one given is. A current-thread runtime that
    /// runs no task for ten seconds although one waits may be stuck, or driven by nobody: its share is zero then, and the
    /// wait of its task grows. So is the share of one that has ended.
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

/// A look comes no sooner after another one, however often the watchdog comes by.
const LOOK: Duration = Duration::from_millis(900);

/// How long a new task waits.
struct Delay {
    waited: Cached<Histogram>,
    probes: Mutex<Probes>,
}

#[derive(Default)]
struct Probes {
    last: Duration,
    /// The task that still waits.
    waiting: Option<Instant>,
    /// A task had its turn, and none has waited long since.
    answered: bool,
    /// A task was dropped without its turn: there is no runtime any more.
    ended: bool,
}

/// A task that waits longer has nobody to run it; until then those before it may be what it waits for.
const UNDRIVEN: Duration = Duration::from_secs(10);

impl Probes {
    /// Whether to ask: one at a time, or they would pile up where nobody runs them.
    fn ask(&mut self, at: Instant) -> bool {
        let is_free = self.waiting.is_none();
        self.waiting.get_or_insert(at);
        is_free
    }

    fn answer(&mut self, waited: Duration) {
        self.last = waited;
        self.answered = true;
    }

    /// Whether somebody runs tasks, be it late: one that waits a while behind others has its turn in the end.
    fn is_answered(&mut self, now: Instant) -> bool {
        let is_late = |asked| now.duration_since(asked) > UNDRIVEN;
        self.answered &= !self.ended && !self.waiting.is_some_and(is_late);
        self.answered
    }

    /// The longer of what the last task waited and what the one waits that has had no turn yet.
    fn wait(&self, now: Instant) -> Duration {
        let still = self.waiting.map(|asked| now.duration_since(asked));
        still.unwrap_or_default().max(self.last)
    }
}

/// A task that waits for its turn. It waits no more when it is dropped: by a runtime that ends, too.
struct Probe {
    delay: Arc<Delay>,
    had_its_turn: bool,
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut probes = self.delay.probes();
        probes.waiting = None;
        probes.ended |= !self.had_its_turn;
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
    ///
    /// So does a worker that nobody drives: what is not `driven` is not busy.
    fn since(self, before: Self, took: Duration, driven: bool) -> Duration {
        if self.turns == before.turns && self.turns.is_multiple_of(2) {
            return if driven { took } else { Duration::ZERO };
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

    /// Whether somebody runs its tasks for certain: its own threads, or whoever ran the last one that was asked for.
    fn is_driven(&self) -> bool {
        let has_threads = self.handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
        let mut probes = self.delay.probes();
        let is_answered = probes.is_answered(Instant::now());
        is_answered || (has_threads && !probes.ended)
    }

    /// A task that does nothing but tell how long it waited.
    fn measure_delay(&self, now: u64) {
        let registry = Arc::clone(&self.registry);
        let asked = Instant::now();
        if !self.delay.probes().ask(asked) {
            return;
        }
        let mut probe = Probe {
            delay: Arc::clone(&self.delay),
            had_its_turn: false,
        };
        self.handle.spawn(async move {
            let waited = asked.elapsed();
            probe.had_its_turn = true;
            probe.delay.probes().answer(waited);
            let record = |histogram: &Histogram, _: usize| histogram.record(waited.as_secs_f64());
            probe.delay.waited.each(&registry, now, record);
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
    fn since(&self, before: &Self, driven: bool) -> (f64, f64) {
        let took = self.at.duration_since(before.at);
        let seconds = took.as_secs_f64().max(1e-9);
        let pairs = self.workers.iter().zip(&before.workers);
        let share = |(now, then): (&Worked, &Worked)| {
            now.since(*then, took, driven).as_secs_f64() / seconds
        };
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
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at.elapsed() < LOOK {
            return;
        }
        let metrics = self.handle.metrics();
        let load = Load::of(&metrics);
        let (tasks, queue) = (metrics.num_alive_tasks(), metrics.global_queue_depth());
        // Before its load is judged: a runtime that has ended says so by this.
        self.measure_delay(now);
        let (all, busiest) = load.since(&last, self.is_driven());
        *last = load;
        drop(last);
        let show = |gauge: &Cached<Gauge>, value: f64| {
            gauge.each(&self.registry, now, |gauge, _| gauge.set(value));
        };
        let busy = Busy {
            workers: metrics.num_workers(),
            tasks,
            queue,
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
        assert!(probes.ask(start));
        probes.answer(Duration::from_millis(2));
        probes.waiting = None;
        assert_eq!(probes.wait(start + second), Duration::from_millis(2));
        assert!(probes.ask(start + second));
        assert!(!probes.ask(start + 2 * second), "one at a time");
        assert_eq!(probes.wait(start + 4 * second), 3 * second);
        probes.answer(4 * second);
        probes.waiting = None;
        assert_eq!(probes.wait(start + 6 * second), 4 * second);
    }

    #[test]
    fn a_runtime_whose_tasks_wait_for_seconds_is_driven_until_one_waits_for_ten() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut probes = Probes::default();
        assert!(!probes.is_answered(start), "nobody ran anything yet");
        for turn in 0..5 {
            // Each task has its turn after four seconds, and there is a look in each of them.
            let asked = start + turn * 4 * second;
            assert!(probes.ask(asked));
            let mut looks = (1..4).map(|after| probes.is_answered(asked + after * second));
            assert!(looks.all(|driven| driven == (turn > 0)));
            probes.answer(4 * second);
            probes.waiting = None;
            assert!(probes.is_answered(asked + 4 * second));
        }
        let asked = start + 60 * second;
        assert!(probes.ask(asked));
        assert!(probes.is_answered(asked + 10 * second));
        assert!(!probes.is_answered(asked + 11 * second), "nobody runs it");
        assert!(!probes.is_answered(asked + 12 * second));
        probes.answer(13 * second);
        probes.waiting = None;
        assert!(probes.is_answered(asked + 13 * second));
    }

    fn watched(handle: Handle) -> Runtime {
        let monitor = Monitor::builder().build().expect("a monitor");
        Runtime::new(&monitor.inner().hub.registry, handle)
    }

    #[test]
    fn a_runtime_that_nobody_drives_collects_no_tasks_and_one_that_ended_has_none_that_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let watched = watched(runtime.handle().clone());
        (0..100).for_each(|_| watched.measure_delay(0));
        assert_eq!(runtime.metrics().num_alive_tasks(), 1);
        assert!(watched.delay.probes().waiting.is_some());
        assert!(!watched.is_driven());
        runtime.block_on(tokio::task::yield_now());
        assert!(watched.is_driven(), "it ran the task");
        watched.measure_delay(0);
        assert!(watched.is_driven(), "the next one may wait behind others");
        watched.measure_delay(0);
        drop(runtime);
        (0..3).for_each(|_| watched.measure_delay(0));
        assert_eq!(watched.delay.probes().waiting, None, "it never will");
        assert!(!watched.is_driven(), "it has ended");
    }

    /// Its workers leave as if they were at work, and nothing changes any more: as if they were busy for ever.
    #[test]
    fn a_runtime_that_ended_is_not_busy() {
        let mut builders = [
            tokio::runtime::Builder::new_current_thread(),
            tokio::runtime::Builder::new_multi_thread(),
        ];
        for builder in &mut builders {
            let runtime = builder.build().expect("a runtime");
            let watched = watched(runtime.handle().clone());
            watched.measure_delay(0);
            while watched.delay.probes().waiting.is_some() {
                runtime.block_on(tokio::task::yield_now());
            }
            assert!(watched.is_driven());
            drop(runtime);
            // As if the last look were a while ago.
            *watched.last.lock().expect("no panic") = Load {
                at: Instant::now() - LOOK,
                workers: Load::of(&watched.handle.metrics()).workers,
            };
            watched.settle(0);
            let shown = *watched.shown.lock().expect("no panic");
            assert_eq!((shown.busy, shown.busiest), (0.0, 0.0));
        }
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
        let (all, busiest) = after.since(&before, true);
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
        assert_eq!(worked(4).since(worked(4), second, true), second);
        let undriven = worked(4).since(worked(4), second, false);
        assert_eq!(undriven, Duration::ZERO, "nobody drives it");
        assert_eq!(
            worked(5).since(worked(5), second, true),
            Duration::ZERO,
            "it rests"
        );
    }
}
