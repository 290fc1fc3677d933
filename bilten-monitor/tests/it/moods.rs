//! A recorder that panics now and then: the program goes on, and what can be told later is told later.

use std::sync::{Arc, Mutex};

use bilten_monitor::{Monitor, MonitorBuilder, Naming, Outcome};
use http_body_util::BodyExt;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{Layer, Service};

use crate::handles::fail;
use crate::http_layer::{answer, request};
use crate::scene::{SOON, eventually};

/// What the recorder does not bear now: beginnings of "describe NAME" and "give NAME".
#[derive(Clone, Default)]
struct Mood {
    sick_of: Arc<Mutex<Vec<&'static str>>>,
    described: Arc<Mutex<Vec<String>>>,
}

impl Mood {
    fn becomes(&self, sick_of: &[&'static str]) {
        *self.sick_of.lock().expect("nobody panics with it") = sick_of.to_vec();
    }

    fn meets(&self, deed: &str) {
        let sick_of = self.sick_of.lock().expect("nobody panics with it").clone();
        if sick_of.iter().any(|sick| deed.starts_with(sick)) {
            fail();
        }
    }

    fn hears(&self, name: &KeyName) {
        self.meets(&format!("describe {}", name.as_str()));
        let mut described = self.described.lock().expect("nobody panics with it");
        described.push(name.as_str().to_owned());
    }

    fn how_often_described(&self, name: &str) -> usize {
        let described = self.described.lock().expect("nobody panics with it");
        described.iter().filter(|told| *told == name).count()
    }
}

/// Keeps in another one what it bears.
struct Moody(Mood, DebuggingRecorder);

struct Handle<T> {
    mood: Mood,
    deed: String,
    inner: T,
}

impl<T> Handle<T> {
    fn new(mood: &Mood, key: &Key, inner: T) -> Arc<Self> {
        let (mood, deed) = (mood.clone(), format!("give {}", key.name()));
        Arc::new(Self { mood, deed, inner })
    }

    fn inner(&self) -> &T {
        self.mood.meets(&self.deed);
        &self.inner
    }
}

impl CounterFn for Handle<Counter> {
    fn increment(&self, by: u64) {
        self.inner().increment(by);
    }
    fn absolute(&self, to: u64) {
        self.inner().absolute(to);
    }
}

impl GaugeFn for Handle<Gauge> {
    fn increment(&self, by: f64) {
        self.inner().increment(by);
    }
    fn decrement(&self, by: f64) {
        self.inner().decrement(by);
    }
    fn set(&self, to: f64) {
        self.inner().set(to);
    }
}

impl HistogramFn for Handle<Histogram> {
    fn record(&self, value: f64) {
        self.inner().record(value);
    }
}

impl Recorder for Moody {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.0.hears(&name);
    }
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.0.hears(&name);
    }
    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.0.hears(&name);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let inner = self.1.register_counter(key, metadata);
        Counter::from_arc(Handle::new(&self.0, key, inner))
    }
    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let inner = self.1.register_gauge(key, metadata);
        Gauge::from_arc(Handle::new(&self.0, key, inner))
    }
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let inner = self.1.register_histogram(key, metadata);
        Histogram::from_arc(Handle::new(&self.0, key, inner))
    }
}

fn moody(
    sick_of: &[&'static str],
    with: impl FnOnce(MonitorBuilder) -> MonitorBuilder,
) -> (Monitor, Mood, Snapshotter) {
    let (mood, kept) = (Mood::default(), DebuggingRecorder::new());
    mood.becomes(sick_of);
    let snapshotter = kept.snapshotter();
    let recorder = Arc::new(Moody(mood.clone(), kept));
    let monitor = with(Monitor::builder().recorder(recorder)).build();
    (monitor.expect("a monitor"), mood, snapshotter)
}

/// What the recorder has of all series of these names; histograms are empty after that.
fn kept<const N: usize>(snapshotter: &Snapshotter, names: [&str; N]) -> [Vec<DebugValue>; N] {
    let all = snapshotter.snapshot().into_vec();
    names.map(|name| {
        let named = all.iter().filter(|(key, ..)| key.key().name() == name);
        named
            .map(|(_, _, _, value)| match value {
                DebugValue::Counter(count) => DebugValue::Counter(*count),
                DebugValue::Gauge(level) => DebugValue::Gauge(*level),
                DebugValue::Histogram(values) => DebugValue::Histogram(values.clone()),
            })
            .collect()
    })
}

/// So many values are in the histograms.
fn values(kept: &[DebugValue]) -> usize {
    let count = |value: &DebugValue| match value {
        DebugValue::Histogram(values) => values.len(),
        _ => 0,
    };
    kept.iter().map(count).sum()
}

#[test]
fn what_a_recorder_panicked_on_is_counted_in_it_once_it_counts_again() {
    let (monitor, mood, snapshotter) = moody(&["give bilten.monitor"], |builder| builder);
    for _ in 0..3 {
        let refused = monitor.metric("x").observe(f64::NAN);
        refused.expect_err("no number");
    }
    mood.becomes(&[]);
    assert!(monitor.flush(SOON));
    let [rejected] = kept(&snapshotter, ["bilten.monitor.rejected"]);
    assert_eq!(rejected, [DebugValue::Counter(3)]);
}

#[test]
fn the_end_of_what_was_in_flight_is_shown_once_the_recorder_takes_it() {
    const ACTIVE: &str = "db.client.active_operations";
    let (monitor, mood, snapshotter) = moody(&[], |builder| builder);
    let running = monitor.query("q").start();
    assert!(monitor.flush(SOON));
    let [active] = kept(&snapshotter, [ACTIVE]);
    assert_eq!(active, [DebugValue::Gauge(1.0_f64.into())]);
    mood.becomes(&["give db.client.active_operations"]);
    running.finish(Outcome::Success);
    assert!(monitor.flush(SOON));
    mood.becomes(&[]);
    assert!(monitor.flush(SOON));
    let [active] = kept(&snapshotter, [ACTIVE]);
    assert_eq!(active, [DebugValue::Gauge(0.0_f64.into())]);
}

#[test]
fn a_series_that_panics_keeps_nothing_from_the_other_family() {
    const BOTH: [&str; 2] = ["db.client.operation.duration", "database_query_duration"];
    for (sick, counts) in [
        ("give db.client.operation.duration", [0, 1]),
        ("give database_query_duration", [1, 0]),
    ] {
        let (monitor, _, snapshotter) = moody(&[sick], |builder| builder.naming(Naming::Both));
        let ran = monitor.query("q").run_sync(|| Ok::<_, std::fmt::Error>(()));
        ran.expect("ok");
        let [long, short] = kept(&snapshotter, BOTH);
        assert_eq!([values(&long), values(&short)], counts, "{sick}");
        // In one of its series it is not.
        assert_eq!(monitor.losses().unrecorded, 1);
    }
}

#[tokio::test]
async fn a_series_that_panics_keeps_nothing_from_those_recorded_with_it() {
    const BOTH: [&str; 2] = [
        "http.server.request.duration",
        "http.server.response.body.size",
    ];
    for (sick, counts) in [
        ("give http.server.request.duration", [0, 1]),
        ("give http.server.response.body.size", [1, 0]),
    ] {
        let (monitor, _, snapshotter) = moody(&[sick], |builder| builder);
        let service = tower::service_fn(|_| answer(200));
        let mut service = monitor.http().layer(service);
        let response = service.call(request("GET", "/")).await;
        let body = response.expect("infallible").into_body();
        drop(body.collect().await);
        let [duration, size] = kept(&snapshotter, BOTH);
        assert_eq!([values(&duration), values(&size)], counts, "{sick}");
        assert_eq!(monitor.losses().unrecorded, 1, "{sick}");
    }
}

#[tokio::test]
async fn a_name_whose_description_a_recorder_panicked_on_is_described_again() {
    const DURATION: &str = "db.client.operation.duration";
    let (monitor, mood, snapshotter) = moody(&["describe db.client.operation"], |builder| {
        builder.refresh_handles(SOON / 1000)
    });
    let run = || {
        let ran = monitor.query("q").run_sync(|| Ok::<_, std::fmt::Error>(()));
        ran.expect("ok");
    };
    run();
    assert_eq!(mood.how_often_described(DURATION), 0);
    mood.becomes(&[]);
    eventually("it is asked again", || {
        run();
        let [duration] = kept(&snapshotter, [DURATION]);
        values(&duration) > 0
    })
    .await;
    run();
    assert_eq!(mood.how_often_described(DURATION), 1);
}
