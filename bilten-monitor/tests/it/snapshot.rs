//! Numbers for a service's own pages.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use bilten_monitor::Outcome;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::Scene;

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn percentiles_and_outcomes_are_those_of_the_last_minutes() {
    let scene = Scene::new();
    for n in 1..=100 {
        let span = scene.monitor.query("list").start();
        scene.clock.advance(n * MILLI);
        span.finish(if n % 10 == 0 {
            Outcome::Error("query")
        } else {
            Outcome::Success
        });
    }
    drop(scene.monitor.query("rare").start());
    let open = scene.monitor.query("rare").start();
    let snapshot = scene.monitor.snapshot();
    let [list, rare] = snapshot.queries.as_slice() else {
        panic!("two names: {snapshot:?}")
    };
    assert_eq!(
        (list.name.as_str(), list.count, list.errors, list.in_flight),
        ("list", 100, 10, 0)
    );
    assert_eq!(
        (
            rare.name.as_str(),
            rare.count,
            rare.cancelled,
            rare.in_flight
        ),
        ("rare", 1, 1, 1)
    );
    let near =
        |found: Duration, expected: Duration| found >= expected && found <= expected.mul_f64(1.063);
    assert!(near(list.recent.p50, 50 * MILLI), "{:?}", list.recent);
    assert!(near(list.recent.p95, 95 * MILLI), "{:?}", list.recent);
    assert_eq!(list.recent.max, 100 * MILLI);
    drop(open);
    scene.clock.advance(Duration::from_secs(600));
    let later = &scene.monitor.snapshot().queries[0];
    assert_eq!((later.count, later.recent.count), (100, 0));
}

#[tokio::test]
async fn requests_are_there_by_route() {
    let scene = Scene::new();
    let ok = service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    let service = scene
        .monitor
        .http()
        .route(|_| Some("/events/{id}"))
        .layer(ok);
    for _ in 0..3 {
        let asked = service
            .clone()
            .oneshot(Request::get("/events/1").body(()).expect("a request"));
        assert_eq!(asked.await.expect("infallible").status(), 200);
    }
    let snapshot = scene.monitor.snapshot();
    assert_eq!(snapshot.requests.len(), 1);
    assert_eq!(
        (
            snapshot.requests[0].name.as_str(),
            snapshot.requests[0].count
        ),
        ("/events/{id}", 3)
    );
    assert_eq!(snapshot.requests[0].in_flight, 0);
}

/// axum applies its layers anew for each connection to whatever is still a handler.
#[tokio::test]
async fn a_route_keeps_its_numbers_over_connections() {
    let scene = Scene::new();
    let app = axum::Router::new()
        .route("/events", axum::routing::get(|| async { "events" }))
        .fallback(|| async { http::StatusCode::NOT_FOUND })
        .layer(scene.monitor.http());
    for path in ["/events", "/events", "/nowhere"] {
        let connection = app.clone().with_state::<()>(());
        let request = Request::get(path).body(axum::body::Body::empty());
        let response = connection
            .oneshot(request.expect("a request"))
            .await
            .expect("served");
        drop(http_body_util::BodyExt::collect(response.into_body()).await);
    }
    let requests = scene.monitor.snapshot().requests;
    let seen: Vec<_> = requests
        .iter()
        .map(|route| (route.name.as_str(), route.count))
        .collect();
    assert_eq!(seen, [("/events", 2), ("unmatched", 1)]);
}
