//! The hot paths do not allocate.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, service_fn};

use crate::scene::Scene;

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("ready at once"),
    }
}

#[test]
fn a_query_allocates_less_than_once_in_twenty() {
    const QUERIES: u32 = 6_400;
    let scene = Scene::new();
    let query = || {
        now(scene
            .monitor
            .query("q")
            .run(ready(Ok::<(), Infallible>(()))))
        .expect("ok")
    };
    (0..100).for_each(|_| query());
    let measured = measure(|| (0..QUERIES).for_each(|_| query()));
    let each = measured.count_total as f64 / f64::from(QUERIES);
    assert!(each <= 0.05, "{each} allocations a query");
}

#[test]
fn own_metrics_allocate_nothing_once_known() {
    let scene = Scene::new();
    let record = || {
        scene
            .monitor
            .metric("m")
            .label("channel", "web")
            .label("new", true)
            .increment(1)
            .expect("counted")
    };
    record();
    assert_eq!(measure(|| (0..1000).for_each(|_| record())).count_total, 0);
}

#[test]
fn a_suppressed_alert_allocates_nothing() {
    // Handles are not asked for again within the turned clock's ten seconds.
    let scene = Scene::with(|builder| builder.refresh_handles(std::time::Duration::from_secs(600)));
    let slow = || {
        let span = scene.monitor.query("q").start();
        scene
            .clock
            .advance(std::time::Duration::from_micros(100_001));
        span.finish(bilten_monitor::Outcome::Success);
    };
    (0..10).for_each(|_| slow());
    // 100 times 100 ms stay within one window; the histogram takes a new block every 64 values.
    let measured = measure(|| (0..100).for_each(|_| slow()));
    assert!(measured.count_total <= 5, "{measured:?}");
}

#[test]
fn the_http_layer_adds_no_allocation_to_a_request() {
    const REQUESTS: u32 = 3_200;
    let scene = Scene::new();
    let inner = service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(
            "hello",
        ))))
    });
    let mut plain = inner;
    let mut timed = scene
        .monitor
        .http()
        .route(|_| Some("/events/{id}"))
        .layer(inner);
    let request = || Request::get("/events/42").body(()).expect("a request");
    let mut serve_plain = || {
        drop(now(now(plain.call(request()))
            .expect("served")
            .into_body()
            .collect()))
    };
    let mut serve_timed = || {
        drop(now(now(timed.call(request()))
            .expect("served")
            .into_body()
            .collect()))
    };
    (0..100).for_each(|_| serve_plain());
    (0..100).for_each(|_| serve_timed());
    let without = measure(|| (0..REQUESTS).for_each(|_| serve_plain())).count_total;
    let with = measure(|| (0..REQUESTS).for_each(|_| serve_timed())).count_total;
    let added = (with - without) as f64 / f64::from(REQUESTS);
    // Three histograms take a new block of the exporter every 64 values: 0.047.
    assert!(added <= 0.06, "{added} allocations a request");
}
