//! Our recorder as the process's.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::recorder::TextRecorder;
use crate::lasting::{self, Reach};

/// It stays where it is until the process ends, and says so.
pub(super) struct Installed(pub(super) Arc<TextRecorder>);

impl Installed {
    fn lasting<H>(&self, handle: H) -> H {
        lasting::say(self, Reach::Process);
        handle
    }
}

impl Recorder for Installed {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.0.describe_counter(name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.0.describe_gauge(name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.0.describe_histogram(name, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.lasting(self.0.register_counter(key, metadata))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.lasting(self.0.register_gauge(key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.lasting(self.0.register_histogram(key, metadata))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use metrics::Level;

    use super::*;
    use crate::prometheus::tap::tapped;

    #[test]
    fn its_handles_last_for_everybody_also_behind_the_pages_tap() {
        let recorder = Arc::new(TextRecorder::new([1.0].into(), HashMap::new(), None));
        let metadata = Metadata::new("test", Level::INFO, None);
        let key = Key::from_static_name("bilten_cache_loads_total");
        drop(recorder.register_counter(&key, &metadata));
        assert_eq!(lasting::said_by(&*recorder), Some(Reach::Given));
        let tapped = tapped(Installed(recorder));
        drop(tapped.register_gauge(&key, &metadata));
        assert_eq!(lasting::said_by(&tapped), Some(Reach::Process));
    }
}
