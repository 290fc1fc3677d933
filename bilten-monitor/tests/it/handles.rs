//! A recorder that gives everybody the handles that a test has made, and what they fail with.

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// One handle for all metrics of a kind; those that the test has not made keep nothing.
pub(crate) struct Handles {
    pub(crate) counter: Counter,
    pub(crate) gauge: Gauge,
    pub(crate) histogram: Histogram,
}

impl Default for Handles {
    fn default() -> Self {
        Self {
            counter: Counter::noop(),
            gauge: Gauge::noop(),
            histogram: Histogram::noop(),
        }
    }
}

impl Recorder for Handles {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.counter.clone()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.gauge.clone()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.histogram.clone()
    }
}

/// A panic that nobody prints: with a backtrace each would take longer than what many of them in a row are to hold up.
pub(crate) fn fail() -> ! {
    std::panic::resume_unwind(Box::new("as told"))
}
