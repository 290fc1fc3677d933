//! What runs on a node, counted while it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use metrics::Gauge;

/// How much runs on a node.
#[derive(Debug, Clone)]
pub(crate) struct Flights {
    running: Arc<AtomicU32>,
    /// Of these, the ones that go on after their call.
    held: Arc<AtomicU32>,
    gauge: Gauge,
}

impl Flights {
    pub(crate) fn new(gauge: Gauge) -> Self {
        Self {
            running: Arc::default(),
            held: Arc::default(),
            gauge,
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.gauge.increment(1.0);
    }

    pub(crate) fn end(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }
}

/// A stream or a transaction, which runs on after the call that opened it.
#[derive(Debug)]
pub(crate) struct Flight(Flights);

impl Flight {
    pub(crate) fn on(flights: &Flights) -> Self {
        flights.begin();
        flights.held.fetch_add(1, Ordering::Relaxed);
        Self(flights.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
        self.0.end();
    }
}
