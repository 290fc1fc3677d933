//! No recorder, a late one, one that forgets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bilten_monitor::prometheus::{Exporter, Options};
use bilten_monitor::{Monitor, prometheus};
use http::Request;
use http_body_util::BodyExt;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_util::CompositeKey;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{Layer, Service};

use crate::handles::{Handles, fail};
use crate::http_layer::{answer, request};
use crate::scene::{Lines, SOON, Scene, Turned, eventually};
use crate::scrape::Scrape;

const COUNT: &str = "db_client_operation_duration_seconds_count";

fn run(monitor: &Monitor) {
    assert_eq!(
        monitor.query("q").run_sync(|| Ok::<_, std::fmt::Error>(7)),
        Ok(7)
    );
}

// One test: the process has only one recorder.
#[test]
fn without_a_recorder_all_goes_on_and_one_that_comes_late_gets_everything_after() {
    let monitor = Monitor::builder().build().expect("a monitor");
    let open = monitor.query("open").start();
    run(&monitor);
    monitor.metric("early").increment(1).expect("counted");
    monitor.metric("").increment(1).expect_err("refused");
    let metrics = prometheus::install(&monitor).expect("the first recorder");
    run(&monitor);
    open.finish(bilten_monitor::Outcome::Success);
    let scrape = Scrape::parse(&metrics.render());
    assert_eq!(
        scrape.sum(COUNT, &[("db_query_summary", "q")]),
        1.0,
        "the one before is gone, the one after is not"
    );
    assert_eq!(scrape.sum(COUNT, &[("db_query_summary", "open")]), 1.0);
    assert_eq!(
        scrape.sum("bilten_monitor_unrecorded_total", &[]),
        2.0,
        "how many came too early"
    );
    assert_eq!(
        scrape.sum("bilten_monitor_rejected_total", &[]),
        1.0,
        "what the monitor counted of itself before comes along"
    );
    assert_eq!(monitor.losses().unrecorded, 2);
    assert_eq!(
        scrape.sum("db_client_active_operations", &[]),
        0.0,
        "never below zero"
    );
    assert!(
        scrape
            .text
            .contains("# HELP db_client_operation_duration_seconds Time of a database operation")
    );

    let refused = prometheus::install(Options::default()).expect_err("there is one already");
    assert!(
        refused.to_string().contains("already installed"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_series_that_the_exporter_forgot_comes_back_with_the_next_observation() {
    let idle = Duration::from_millis(100);
    let exporter = Exporter::local(Options::default().idle_timeout(idle)).expect("an exporter");
    let monitor = Monitor::builder()
        .recorder(exporter.recorder())
        .build()
        .expect("a monitor");
    let held = metrics::with_local_recorder(&exporter.recorder(), || {
        metrics::counter!("forgotten").increment(1);
        let held = metrics::counter!("held");
        held.increment(1);
        held
    });
    run(&monitor);
    eventually("the exporter leaves the idle series out", || {
        let text = exporter.render();
        !["db_query_summary", "held_total", "forgotten_total"]
            .iter()
            .any(|name| text.contains(name))
    })
    .await;
    // No handle is asked for again: the one that everybody holds goes on counting.
    for _ in 0..10 {
        run(&monitor);
    }
    held.increment(1);
    metrics::with_local_recorder(&exporter.recorder(), || {
        metrics::counter!("forgotten").increment(1)
    });
    let scrape = Scrape::parse(&exporter.render());
    assert_eq!(scrape.sum(COUNT, &[]), 11.0);
    assert_eq!(scrape.sum("held_total", &[]), 2.0);
    assert_eq!(scrape.sum("forgotten_total", &[]), 1.0, "nobody held it");
}

#[test]
fn a_shared_recorder_keeps_what_two_exporters_would_split() {
    let scene = Scene::new();
    let second = Monitor::builder()
        .recorder(scene.exporter.recorder())
        .build()
        .expect("a monitor");
    run(&scene.monitor);
    run(&second);
    assert_eq!(scene.scrape().sum(COUNT, &[]), 2.0);
}

#[test]
fn two_recorders_each_get_what_their_own_monitor_sees_whoever_asks_and_on_which_thread() {
    const EACH: u32 = 2_000;
    let (one, other) = (Scene::new(), Scene::new());
    let around = Exporter::local(Options::default()).expect("an exporter");
    let homeless = Monitor::builder().build().expect("a monitor");
    let work = |monitor: &Monitor, times| (0..times).for_each(|_| run(monitor));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // One with a recorder of its own does not look at the thread's.
                metrics::with_local_recorder(&around.recorder(), || {
                    (0..EACH).for_each(|_| (run(&one.monitor), run(&other.monitor)).1);
                    work(&other.monitor, EACH);
                });
            });
        }
    });
    let open = one.monitor.query("open").start();
    metrics::with_local_recorder(&around.recorder(), || work(&homeless, 3));
    for (scene, count, active) in [(&one, 2 * EACH, 1.0), (&other, 4 * EACH, 0.0)] {
        let scrape = scene.scrape();
        assert_eq!(scrape.sum(COUNT, &[]), f64::from(count));
        assert_eq!(scrape.sum("db_client_active_operations", &[]), active);
    }
    assert_eq!(Scrape::parse(&around.render()).sum(COUNT, &[]), 3.0);
    drop(open);
}

#[test]
fn a_recorder_that_only_one_thread_has_gets_what_is_observed_there_and_nothing_later() {
    let monitor = Monitor::builder().build().expect("a monitor");
    let counted = |exporter: &Exporter| Scrape::parse(&exporter.render()).sum(COUNT, &[]);
    let mut exporters = Vec::new();
    for times in 1..=3 {
        let exporter = Exporter::local(Options::default()).expect("an exporter");
        // One after the other at the same address: that they are not the same one is not to be seen there.
        metrics::with_local_recorder(&exporter.recorder(), || {
            (0..times).for_each(|_| run(&monitor));
            monitor.metric("own").increment(1).expect("counted");
        });
        exporters.push((exporter, f64::from(times)));
    }
    for (exporter, times) in &exporters {
        assert_eq!(counted(exporter), *times);
        let own = Scrape::parse(&exporter.render()).sum("own_total", &[]);
        assert_eq!(own, 1.0);
    }
}

/// A recorder of somebody else, around ours.
struct Around {
    ours: Arc<dyn Recorder + Send + Sync>,
    asked: AtomicU32,
}

impl Recorder for Around {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.ours.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.ours.register_gauge(key, metadata)
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.ours.register_histogram(key, metadata)
    }
}

#[test]
fn a_recorder_around_ours_is_asked_again_as_any_other_that_may_forget() {
    let exporter = Exporter::local(Options::default()).expect("an exporter");
    let around = Arc::new(Around {
        ours: exporter.recorder(),
        asked: AtomicU32::new(0),
    });
    let clock = Turned::default();
    let builder = Monitor::builder().recorder(Arc::clone(&around) as _);
    let monitor = builder.clock(clock.clone()).build().expect("a monitor");
    for asked in 1..=3 {
        (0..10).for_each(|_| run(&monitor));
        assert_eq!(around.asked.load(Ordering::SeqCst), asked);
        clock.advance(Duration::from_secs(11));
    }
    assert_eq!(Scrape::parse(&exporter.render()).sum(COUNT, &[]), 30.0);
}

/// The number in flight as another recorder than ours has it.
fn told(snapshotter: &Snapshotter) -> Option<f64> {
    let series = snapshotter.snapshot().into_vec().into_iter();
    let named = |(key, _, _, value): (CompositeKey, _, _, DebugValue)| match value {
        DebugValue::Gauge(value) if key.key().name() == "db.client.active_operations" => {
            Some(value.into_inner())
        }
        _ => None,
    };
    series.filter_map(named).next_back()
}

#[tokio::test]
async fn another_recorder_is_told_the_number_in_flight_within_a_look_at_once_by_flush_and_at_the_end()
 {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let builder = Monitor::builder().recorder(Arc::new(recorder));
    let monitor = builder.build().expect("a monitor");
    let first = monitor.query("q").start();
    eventually("the watchdog tells", || told(&snapshotter) == Some(1.0)).await;
    let second = monitor.query("q").start();
    assert!(monitor.flush(SOON));
    assert_eq!(told(&snapshotter), Some(2.0));
    // Nobody looks any more, and these two are still under way.
    drop((monitor, first));
    drop(second);
    // At once, or when the watchdog's last look is over.
    eventually("none is told", || told(&snapshotter) == Some(0.0)).await;
}

/// A recorder that panics whenever it is asked for a handle.
struct Hopeless;

impl Recorder for Hopeless {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        panic!("no counter {key}")
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        panic!("no gauge {key}")
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("no histogram {key}")
    }
}

#[test]
fn a_recorder_that_panics_when_it_is_asked_is_no_matter_of_the_program() {
    let built = Monitor::builder().recorder(Arc::new(Hopeless)).build();
    let monitor = built.expect("a monitor without a recorder");
    run(&monitor);
    monitor.metric("sold").increment(1).expect("counted");
    assert!(monitor.flush(SOON));
    assert_eq!(monitor.snapshot().queries[0].count, 1);
    let losses = monitor.losses();
    assert!(losses.sink_failures > 0, "{losses:?}");
    assert_eq!(
        losses.unrecorded, 2,
        "the query and the sale are in no exporter"
    );
}

/// A handle of any kind that panics when it is given a value.
struct Sour;

impl CounterFn for Sour {
    fn increment(&self, _: u64) {
        fail()
    }
    fn absolute(&self, _: u64) {
        fail()
    }
}

impl GaugeFn for Sour {
    fn increment(&self, _: f64) {
        fail()
    }
    fn decrement(&self, _: f64) {
        fail()
    }
    fn set(&self, _: f64) {
        fail()
    }
}

impl HistogramFn for Sour {
    fn record(&self, _: f64) {
        fail()
    }
}

#[tokio::test]
async fn a_recorder_that_panics_at_each_value_is_no_matter_of_a_query_or_a_request() {
    let log = Lines::default();
    let _told = tracing::subscriber::set_default(log.subscriber());
    let recorder = Handles {
        counter: Counter::from_arc(Arc::new(Sour)),
        gauge: Gauge::from_arc(Arc::new(Sour)),
        histogram: Histogram::from_arc(Arc::new(Sour)),
    };
    let scene = Scene::with(|builder| builder.recorder(Arc::new(recorder)));
    let monitor = &scene.monitor;
    run(monitor);
    let failing = || Err::<(), _>(std::fmt::Error);
    assert_eq!(
        monitor.query("q").run_sync(failing),
        Err(std::fmt::Error),
        "as it was"
    );
    drop(monitor.query("q").start());
    let service = tower::service_fn(|asked: Request<()>| {
        assert_eq!(asked.uri(), "/fine", "the handler's own fault");
        answer(200)
    });
    let mut service = monitor.http().route(|_| Some("/all")).layer(service);
    let response = service.call(request("GET", "/fine")).await;
    drop(response.expect("infallible").into_body().collect().await);
    // Recorded while that panic unwinds: a second one would end the process.
    let broken = AssertUnwindSafe(|| drop(service.call(request("GET", "/broken"))));
    assert!(catch_unwind(broken).is_err());
    for given in [
        monitor.metric("sold").increment(1),
        monitor.metric("level").set(1.0),
        monitor.metric("spread").observe(1.0),
    ] {
        given.expect("counted");
    }
    assert!(monitor.flush(SOON));
    let snapshot = monitor.snapshot();
    let counted = (snapshot.queries[0].count, snapshot.requests[0].count);
    assert_eq!(counted, (3, 2));
    let losses = monitor.losses();
    assert!(losses.sink_failures >= 8, "{losses:?}");
    // Three queries, a first byte, the ends of two requests, and three metrics of the program's own.
    assert_eq!(losses.unrecorded, 9);
    let text = log.text();
    let told = text.matches("the metrics recorder panicked").count();
    assert_eq!(told, 1, "{text}");
}
