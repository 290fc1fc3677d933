//! The source of truth: a database with a few connections and bad days.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How many parts of a second are counted on their own.
pub(crate) const PER_SECOND: u32 = 2;

/// The scenario. Ranges are in seconds from the start.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seconds: u32,
    pub(crate) slow: Range<u32>,
    pub(crate) failing: Range<u32>,
    pub(crate) instances: u32,
    /// Of each instance.
    pub(crate) reads_per_second: u32,
    pub(crate) keys: u32,
    /// Calls that the source can work on at the same time.
    pub(crate) slots: usize,
    pub(crate) call: Duration,
    pub(crate) slow_call: Duration,
    pub(crate) time_to_live: Duration,
    /// How long a reader waits.
    pub(crate) patience: Duration,
}

impl Plan {
    pub(crate) fn bins(&self) -> usize {
        (self.seconds * PER_SECOND) as usize
    }
}

/// One version of a row: its number.
#[derive(Debug)]
struct Row {
    version: AtomicU64,
    /// When it changed last, in milliseconds from the start.
    changed: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) plan: Plan,
    rows: Vec<Row>,
    slots: Semaphore,
    calls: Vec<AtomicU64>,
    began: OnceLock<Instant>,
}

impl Source {
    pub(crate) fn new(plan: Plan) -> Arc<Self> {
        let row = |_| Row {
            version: AtomicU64::new(1),
            changed: AtomicU64::new(0),
        };
        Arc::new(Self {
            rows: (0..plan.keys).map(row).collect(),
            slots: Semaphore::new(plan.slots),
            calls: (0..plan.bins()).map(|_| AtomicU64::new(0)).collect(),
            began: OnceLock::new(),
            plan,
        })
    }

    /// Starts the clock.
    pub(crate) fn begin(&self) -> Instant {
        *self.began.get_or_init(Instant::now)
    }

    fn second(&self) -> f64 {
        self.began
            .get()
            .map_or(0.0, |began| began.elapsed().as_secs_f64())
    }

    /// The row's version as it was when the call had its connection.
    pub(crate) async fn read(&self, key: usize) -> io::Result<u64> {
        if let Some(bin) = self
            .calls
            .get((self.second() * f64::from(PER_SECOND)) as usize)
        {
            bin.fetch_add(1, Ordering::Relaxed);
        }
        let _slot = self.slots.acquire().await.map_err(io::Error::other)?;
        let version = self.rows[key].version.load(Ordering::SeqCst);
        let is_slow = is_in(&self.plan.slow, self.second());
        tokio::time::sleep(if is_slow {
            self.plan.slow_call
        } else {
            self.plan.call
        })
        .await;
        match is_in(&self.plan.failing, self.second()) {
            true => Err(io::Error::other("the database says no")),
            false => Ok(version),
        }
    }

    /// Changes a row, if the source takes changes now.
    pub(crate) fn change(&self, key: usize) -> bool {
        if is_in(&self.plan.failing, self.second()) {
            return false;
        }
        let row = &self.rows[key];
        row.changed
            .store((self.second() * 1e3) as u64, Ordering::SeqCst);
        row.version.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// How old an answer is: the time since it was replaced, zero while it is the newest. To be asked before the read begins.
    pub(crate) fn newest(&self, key: usize) -> (u64, Duration) {
        let row = &self.rows[key];
        let version = row.version.load(Ordering::SeqCst);
        let since = self.second() - row.changed.load(Ordering::SeqCst) as f64 / 1e3;
        (version, Duration::from_secs_f64(since.max(0.0)))
    }

    pub(crate) fn calls(&self) -> Vec<u64> {
        self.calls
            .iter()
            .map(|bin| bin.load(Ordering::Relaxed))
            .collect()
    }
}

fn is_in(range: &Range<u32>, second: f64) -> bool {
    (f64::from(range.start)..f64::from(range.end)).contains(&second)
}
