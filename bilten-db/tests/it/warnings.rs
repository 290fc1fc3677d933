//! Counts what one module warns of, with those inside of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// A subscriber for the thread of one test.
#[derive(Clone)]
pub(crate) struct Warnings {
    of: &'static str,
    told: Arc<AtomicUsize>,
}

impl Warnings {
    /// Of the module at this path.
    pub(crate) fn of(module: &'static str) -> Self {
        Self {
            of: module,
            told: Arc::default(),
        }
    }

    pub(crate) fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(self.of) && *metadata.level() == Level::WARN
    }

    fn event(&self, _: &Event<'_>) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
