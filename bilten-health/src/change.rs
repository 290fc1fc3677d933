//! Changes of status, and who is told of them.

use crate::caught::caught;
use crate::said::Said;
use crate::status::Status;
use crate::thread;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tracing::dispatcher::{get_default, with_default};
use tracing::{Dispatch, Level, enabled};

/// More changes than this do not wait for a listener that is too slow; the oldest are left out.
const QUEUE: usize = 1024;

/// The reported status of a check has changed.
///
/// ```
/// use bilten_health::{Health, change::Change, check};
///
/// let health = Health::builder()
///     .check(check("orders", || async {}))
///     .on_change(|change: &Change| eprintln!("{}: {} -> {}", change.check, change.from, change.to))
///     .build();
/// assert!(health.is_ok());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change {
    /// The check.
    pub check: Arc<str>,
    /// What it was.
    pub from: Status,
    /// What it is.
    pub to: Status,
    /// When it changed.
    pub at: SystemTime,
    /// The error of the result that changed it; credentials masked.
    pub error: Option<Arc<str>>,
    /// How often this check has changed so far: a number that keeps growing is a flapping check.
    pub changes: u64,
}

/// The same with what the check said as it came.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) check: Arc<str>,
    pub(crate) from: Status,
    pub(crate) to: Status,
    pub(crate) at: SystemTime,
    pub(crate) error: Option<Said>,
    pub(crate) changes: u64,
}

impl Changed {
    fn is_logged(&self) -> bool {
        match &self.error {
            Some(_) if !self.to.is_healthy() => enabled!(Level::WARN),
            _ => enabled!(Level::INFO),
        }
    }

    fn shown(self) -> Change {
        Change {
            check: self.check,
            from: self.from,
            to: self.to,
            at: self.at,
            error: self.error.as_ref().map(Said::shown),
            changes: self.changes,
        }
    }
}

pub(crate) type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

/// Tells the log and listeners of changes, in order, on a thread of their own where they may block, one change at a time.
#[derive(Default)]
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Changed>,
    delivering: bool,
    left_out: u64,
}

impl Listeners {
    pub(crate) fn new(listeners: Vec<Listener>) -> Self {
        Self {
            listeners,
            queue: Arc::default(),
        }
    }

    /// Queues the change and returns at once.
    pub(crate) fn tell(&self, change: Changed) {
        if self.listeners.is_empty() && !change.is_logged() {
            return;
        }
        let mut queue = lock(&self.queue);
        if queue.waiting.len() == QUEUE {
            queue.waiting.pop_front();
            queue.left_out += 1;
        }
        queue.waiting.push_back(change);
        if !std::mem::replace(&mut queue.delivering, true) {
            let delivery = Delivery {
                listeners: self.listeners.clone(),
                queue: Arc::clone(&self.queue),
                ended: false,
            };
            drop(queue);
            deliver(delivery);
        }
    }
}

/// Begins a delivery. A system that has no thread left gives one another time: the next change tries again.
fn deliver(delivery: Delivery) {
    // The log of whoever found the change, which may be its own.
    let log = get_default(Dispatch::clone);
    if let Err(error) = thread::start(move || with_default(&log, || delivery.run())) {
        tracing::error!(%error, "no thread to tell of a change of health; the next change tries again");
    }
}

/// The one delivery under way; gives its place free however it ends, also when the runtime never ran it.
struct Delivery {
    listeners: Vec<Listener>,
    queue: Arc<Mutex<Queue>>,
    ended: bool,
}

impl Delivery {
    fn run(mut self) {
        while let Some((change, left_out)) = self.next() {
            if left_out > 0 {
                tracing::warn!(
                    left_out,
                    "the log or a listener of health changes is too slow; the oldest changes were left out"
                );
            }
            // Masked here, and not where a question waits for it.
            let change = change.shown();
            log(&change);
            for listener in &self.listeners {
                if caught(|| listener(&change)).is_none() {
                    tracing::error!(
                        check = &*change.check,
                        "a listener of health changes panicked"
                    );
                }
            }
        }
    }

    /// The next change; when there is none, the place is given free under the same lock, so that none is forgotten.
    fn next(&mut self) -> Option<(Changed, u64)> {
        let mut queue = lock(&self.queue);
        let Some(change) = queue.waiting.pop_front() else {
            queue.delivering = false;
            self.ended = true;
            return None;
        };
        Some((change, std::mem::take(&mut queue.left_out)))
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // After a regular end another delivery may hold the place already.
        if !self.ended {
            lock(&self.queue).delivering = false;
        }
    }
}

fn log(change: &Change) {
    let (check, from, to) = (&*change.check, change.from.as_str(), change.to.as_str());
    match &change.error {
        Some(error) if !change.to.is_healthy() => {
            tracing::warn!(check, from, to, %error, "health check changed")
        }
        _ => tracing::info!(check, from, to, "health check changed"),
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listeners")
            .field("count", &self.listeners.len())
            .finish_non_exhaustive()
    }
}
