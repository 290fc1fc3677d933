//! Operations that do not end are told while they run.

use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bilten_monitor::alert::{Alert, AlertKind, AlertSink, Refused};
use bilten_monitor::{Clock, Outcome};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};

use crate::handles::{Handles, fail};
use crate::scene::{SOON, Scene, Turned};

const TICK: Duration = Duration::from_millis(5);
const MILLI: Duration = Duration::from_millis(1);

fn watched() -> Scene {
    Scene::with(|builder| builder.watchdog(TICK))
}

#[test]
fn a_query_that_hangs_is_told_once_while_it_runs_and_once_when_it_ends() {
    let scene = watched();
    let span = scene.monitor.query("report").start();
    scene.clock.advance(1100 * MILLI);
    let running = scene
        .alerts
        .next_within(SOON)
        .expect("told by the watchdog");
    assert_eq!(
        (running.kind, running.subject.as_str()),
        (AlertKind::StillRunning, "report")
    );
    assert_eq!(
        (running.duration, running.threshold),
        (1100 * MILLI, 100 * MILLI)
    );
    scene.clock.advance(3900 * MILLI);
    assert!(
        scene.alerts.next_within(10 * TICK).is_none(),
        "and not again"
    );
    span.finish(Outcome::Success);
    let ended = scene.alerts.next_within(SOON).expect("told at its end");
    assert_eq!(
        (ended.kind, ended.duration),
        (AlertKind::SlowQuery, 5000 * MILLI)
    );
    assert!(scene.alerts.next_within(10 * TICK).is_none(), "no third");
}

/// A gauge that panics once it is told to.
struct Fragile(Arc<AtomicBool>);

impl metrics::GaugeFn for Fragile {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, _: f64) {
        assert!(!self.0.swap(false, Ordering::SeqCst), "as told");
    }
}

#[test]
fn the_watchdog_looks_on_after_a_recorder_has_panicked() {
    let panics = Arc::new(AtomicBool::new(true));
    let gauge = metrics::Gauge::from_arc(Arc::new(Fragile(Arc::clone(&panics))));
    let recorder = Arc::new(Handles {
        gauge,
        ..Handles::default()
    });
    let scene = Scene::with(|builder| builder.recorder(recorder).watchdog(TICK));
    let span = scene.monitor.query("report").start();
    scene.clock.advance(1100 * MILLI);
    let running = scene
        .alerts
        .next_within(SOON)
        .expect("told at a later look");
    assert_eq!(running.kind, AlertKind::StillRunning);
    assert!(!panics.load(Ordering::SeqCst));
    assert_eq!(scene.monitor.losses().sink_failures, 1, "it is counted");
    span.finish(Outcome::Success);
}

/// A counter that panics at each count.
struct Uncountable;

impl metrics::CounterFn for Uncountable {
    fn increment(&self, _: u64) {
        fail();
    }
    fn absolute(&self, _: u64) {
        fail();
    }
}

#[test]
fn a_recorder_that_panics_at_each_count_keeps_no_alert_from_being_told() {
    let recorder = Arc::new(Handles {
        counter: metrics::Counter::from_arc(Arc::new(Uncountable)),
        ..Handles::default()
    });
    let scene = Scene::with(|builder| builder.recorder(recorder).watchdog(TICK));
    let span = scene.monitor.query("report").start();
    scene.clock.advance(1100 * MILLI);
    let running = scene.alerts.next_within(SOON).expect("told");
    assert_eq!(running.kind, AlertKind::StillRunning);
    span.finish(Outcome::Success);
    let ended = scene.alerts.next_within(SOON).expect("told at its end");
    assert_eq!(ended.kind, AlertKind::SlowQuery);
    assert!(scene.monitor.losses().sink_failures > 0, "it is counted");
}

#[test]
fn many_that_hang_under_one_name_are_one_alert() {
    let scene = watched();
    let spans: Vec<_> = (0..200)
        .map(|_| scene.monitor.query("stuck").start())
        .collect();
    scene.clock.advance(1000 * MILLI);
    assert!(scene.alerts.next_within(SOON).is_some());
    assert!(scene.alerts.next_within(10 * TICK).is_none());
    assert_eq!(
        scene.monitor.queries_in_flight(),
        200,
        "all are in flight, also those beyond the 64 watched"
    );
    drop(spans);
    assert_eq!(scene.monitor.queries_in_flight(), 0);
}

#[test]
fn a_request_that_hangs_is_told_by_its_route() {
    let scene = watched();
    let never = service_fn(|_: Request<()>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut service = scene.monitor.http().route(|_| Some("/stuck")).layer(never);
    let request = service.call(Request::get("/stuck").body(()).expect("a request"));
    scene.clock.advance(1001 * MILLI);
    let told = scene.alerts.next_within(SOON).expect("told");
    assert_eq!(
        (told.kind, told.subject.as_str()),
        (AlertKind::StillRunning, "/stuck")
    );
    drop(request);
}

#[test]
fn what_ends_in_time_is_never_told() {
    let scene = watched();
    for _ in 0..1000 {
        let span = scene.monitor.query("quick").start();
        scene.clock.advance(100 * MILLI);
        span.finish(Outcome::Success);
    }
    assert!(scene.alerts.next_within(10 * TICK).is_none());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_watchdog_ends_with_its_monitor() {
    use crate::scene::{eventually, threads};

    let before = threads("bilten-watchdog");
    let scene = watched();
    eventually("it runs", || threads("bilten-watchdog") == before + 1).await;
    drop(scene);
    eventually("it ends", || threads("bilten-watchdog") == before).await;
}

/// Eight that last take places beside each other, and those beside them are free again by the time the ninth begins.
#[test]
fn one_that_hangs_is_told_though_most_places_are_taken() {
    let scene = watched();
    let start = || scene.monitor.query("busy").start();
    let mut spans: Vec<_> = (0..64).map(|_| start()).collect();
    // One place is free, as far as can be from where the next one looks first.
    drop(spans.remove(40));
    scene.clock.advance(1000 * MILLI);
    let told = scene.alerts.next_within(SOON).expect("the first 63");
    assert_eq!(told.kind, AlertKind::StillRunning);
    let late = start();
    // They end, and only the late one can be what is told in the next window.
    drop(spans);
    scene.alerts();
    scene.clock.advance(Duration::from_secs(61));
    let told = scene.alerts.next_within(SOON).expect("the late one");
    assert_eq!(
        (told.kind, told.duration),
        (AlertKind::StillRunning, Duration::from_secs(61))
    );
    drop(late);
}

/// A clock that panics on the monitor's own threads for as long as it is told to.
#[derive(Clone)]
struct Moody(Turned, Arc<AtomicBool>);

impl Clock for Moody {
    fn now(&self) -> Duration {
        let thread = std::thread::current();
        let is_ours = thread
            .name()
            .is_some_and(|name| name.starts_with("bilten-"));
        if is_ours && self.1.load(Ordering::SeqCst) {
            fail();
        }
        self.0.now()
    }
}

/// Refuses the first alert.
struct Shy(mpsc::Sender<AlertKind>, AtomicBool);

impl AlertSink for Shy {
    fn deliver(&self, alert: &Alert) -> Result<(), Refused> {
        if self.1.swap(false, Ordering::SeqCst) {
            return Err("not yet".into());
        }
        self.0.send(alert.kind).map_err(Into::into)
    }
}

#[test]
fn a_clock_that_panics_ends_neither_the_looks_nor_the_deliveries() {
    let (sender, delivered) = mpsc::channel();
    let (clock, panics) = (Turned::default(), Arc::new(AtomicBool::new(true)));
    let moody = Moody(clock.clone(), Arc::clone(&panics));
    let scene = Scene::with(|builder| {
        let builder = builder.clock(moody).watchdog(TICK);
        builder.alert_sink(Shy(sender, AtomicBool::new(true)))
    });
    let slow = |name| {
        let span = scene.monitor.query(name).start();
        clock.advance(200 * MILLI);
        span.finish(Outcome::Success);
    };
    // Its refusal is counted, for which the clock is asked; and so it is at each look meanwhile.
    slow("refused");
    assert!(scene.monitor.flush(SOON), "it counts as handled");
    slow("delivered");
    assert_eq!(delivered.recv_timeout(SOON), Ok(AlertKind::SlowQuery));
    let deadline = Instant::now() + SOON;
    while scene.monitor.losses().sink_failures < 3 {
        assert!(
            Instant::now() < deadline,
            "looks at which it panicked count"
        );
        std::thread::yield_now();
    }
    panics.store(false, Ordering::SeqCst);
    let hangs = scene.monitor.query("hangs").start();
    clock.advance(200 * MILLI);
    assert_eq!(delivered.recv_timeout(SOON), Ok(AlertKind::StillRunning));
    drop(hangs);
}
