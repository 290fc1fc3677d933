//! Which trace an alert belongs to.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use bilten_monitor::alert::{AlertKind, TraceId};
use bilten_monitor::{Outcome, RequestContext};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::Scene;

const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A slow request with a slow query in it, and what the handler saw of the trace.
async fn ask(scene: &Scene, traceparent: Option<&str>) -> Option<TraceId> {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None));
    let handler = service_fn(|_: Request<()>| {
        *seen.lock().expect("unpoisoned") =
            RequestContext::current().expect("a request").trace_id();
        let span = scene.monitor.query("event_by_id").start();
        scene.clock.advance(Duration::from_secs(3));
        span.finish(Outcome::Success);
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(
            "a concert",
        ))))
    });
    let mut request = Request::get("/events/7");
    if let Some(header) = traceparent {
        request = request.header("traceparent", header);
    }
    let service = scene.monitor.http().layer(handler);
    let answer = service
        .oneshot(request.body(()).expect("a request"))
        .await
        .expect("infallible");
    answer.into_body().collect().await.expect("a body");
    seen.lock().expect("unpoisoned").take()
}

fn traces(scene: &Scene) -> Vec<(AlertKind, Option<String>)> {
    let told = |alert: bilten_monitor::alert::Alert| {
        (alert.kind, alert.trace_id.map(|trace| trace.to_string()))
    };
    scene.alerts().into_iter().map(told).collect()
}

#[tokio::test]
async fn the_requests_header_names_the_trace_of_its_alerts_and_of_its_queries() {
    let scene = Scene::new();
    let seen = ask(&scene, Some(HEADER)).await;
    assert_eq!(seen.map(|trace| trace.to_string()).as_deref(), Some(TRACE));
    let named = |kind| (kind, Some(TRACE.to_owned()));
    let expected = [named(AlertKind::SlowQuery), named(AlertKind::SlowRequest)];
    assert_eq!(traces(&scene), expected);
    assert!(!scene.scrape().text.contains(TRACE), "never a label");
}

#[tokio::test]
async fn a_header_that_is_no_trace_is_ignored() {
    let scene = Scene::new();
    assert_eq!(ask(&scene, Some("00-zz-00f067aa0ba902b7-01")).await, None);
    assert_eq!(
        traces(&scene),
        [(AlertKind::SlowQuery, None), (AlertKind::SlowRequest, None)]
    );
}

thread_local! {
    /// What a tracing library would know of the span that is entered on this thread.
    static SPAN: Cell<u128> = const { Cell::new(0) };
}

#[test]
fn a_tracing_librarys_span_comes_before_the_header_and_its_panic_is_harmless() {
    let scene = Scene::with(|builder| {
        builder
            .alert_window(Duration::from_secs(1))
            .trace_id(|| match SPAN.get() {
                13 => panic!("a tracing library's own fault"),
                number => TraceId::new(number),
            })
    });
    let slow = |span| {
        SPAN.set(span);
        let query = scene.monitor.query("q").start();
        scene.clock.advance(Duration::from_secs(2));
        query.finish(Outcome::Success);
    };
    [0xabc, 0, 13].into_iter().for_each(slow);
    let told: Vec<_> = traces(&scene).into_iter().map(|(_, trace)| trace).collect();
    assert_eq!(told, [Some(format!("{:032x}", 0xabc)), None, None]);
}
