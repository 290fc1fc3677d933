//! Whose request it was: the facts and the trace of a request, in its own alerts and in those of its queries.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::task::{Context, Waker};
use std::time::Duration;

use bilten_monitor::RequestContext;
use bilten_monitor::alert::AlertKind;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};

use crate::http_layer::{answer, request, route};
use crate::scene::Scene;

#[tokio::test]
async fn a_users_id_is_in_the_alert_and_in_no_series() {
    let scene = Scene::new();
    let clock = scene.clock.clone();
    let handler = service_fn(move |_: Request<()>| {
        let clock = clock.clone();
        async move {
            tokio::task::yield_now().await;
            RequestContext::current()
                .expect("a request")
                .set("userId", "user-4711");
            clock.advance(Duration::from_secs(2));
            answer(200).await
        }
    });
    let service = scene.monitor.http().route(route).layer(handler);
    let response = service
        .oneshot(request("GET", "/users/1"))
        .await
        .expect("infallible");
    drop(response.into_body().collect().await);
    let alerts = scene.alerts();
    let [alert] = alerts.as_slice() else {
        panic!("one alert: {alerts:?}")
    };
    assert_eq!(
        (alert.kind, alert.subject.as_str()),
        (AlertKind::SlowRequest, "/users/{id}")
    );
    let facts: Vec<_> = alert
        .facts
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(
        facts,
        [
            ("method", "GET"),
            ("status", "200"),
            ("userId", "user-4711")
        ]
    );
    assert!(!scene.scrape().text.contains("4711"));
}

#[tokio::test]
async fn a_slow_query_tells_whose_request_it_was_in() {
    let scene = Scene::new();
    let (clock, monitor) = (scene.clock.clone(), scene.monitor.clone());
    let handler = service_fn(move |_: Request<()>| {
        let (clock, monitor) = (clock.clone(), monitor.clone());
        async move {
            RequestContext::current()
                .expect("a request")
                .set("userId", "7");
            monitor
                .query("report")
                .run_infallible(async { clock.advance(Duration::from_millis(500)) })
                .await;
            answer(200).await
        }
    });
    let response = scene
        .monitor
        .http()
        .layer(handler)
        .oneshot(request("GET", "/x"))
        .await
        .expect("infallible");
    drop(response.into_body().collect().await);
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1);
    assert_eq!(alerts[0].facts, [("userId", "7".to_owned())]);
    assert!(RequestContext::current().is_none(), "gone with its request");
}

#[tokio::test]
async fn the_alert_of_a_query_that_is_cut_off_with_its_request_tells_whose_it_was() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for in_body in [false, true] {
        let scene = Scene::new();
        let monitor = scene.monitor.clone();
        let handler = service_fn(move |_: Request<()>| {
            let monitor = monitor.clone();
            async move {
                let context = RequestContext::current().expect("a request");
                context.set("userId", "7");
                let endless = async move {
                    let query = monitor.query("endless");
                    query.run_infallible(pending::<()>()).await;
                    Ok::<_, Infallible>(http_body::Frame::data(Bytes::new()))
                };
                if !in_body {
                    drop(endless.await);
                    unreachable!("it never ends");
                }
                let stream = futures_util::stream::once(endless);
                Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(stream)))
            }
        });
        let service = scene.monitor.http().layer(handler);
        let mut asked = request("GET", "/x");
        let trace = TRACE.parse().expect("a value");
        asked.headers_mut().insert("traceparent", trace);
        let whole = async {
            let response = service.oneshot(asked).await.expect("infallible");
            response.into_body().boxed_unsync().collect().await
        };
        let mut whole = Box::pin(whole);
        assert!(
            whole
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        scene.clock.advance(Duration::from_secs(5));
        drop(whole);
        let alerts = scene.alerts();
        let query = alerts
            .iter()
            .find(|alert| alert.kind == AlertKind::SlowQuery)
            .expect("an alert");
        assert!(query.trace_id.is_some(), "in the body: {in_body}");
        assert_eq!(query.facts, [("userId", "7".to_owned())]);
        assert!(RequestContext::current().is_none(), "gone with its request");
    }
}

#[tokio::test]
async fn a_scope_in_a_request_tells_whose_request_it_was_in() {
    let scene = Scene::new();
    let (clock, monitor) = (scene.clock.clone(), scene.monitor.clone());
    let handler = service_fn(move |_: Request<()>| {
        let (clock, monitor) = (clock.clone(), monitor.clone());
        async move {
            let context = RequestContext::current().expect("a request");
            context.set("userId", "7");
            let part = monitor.clone().scope("part", async move {
                let own = RequestContext::current().expect("a scope");
                own.set("step", "2");
                let report = async { clock.advance(Duration::from_millis(500)) };
                monitor.query("report").run_infallible(report).await;
            });
            part.await;
            answer(200).await
        }
    });
    let mut asked = request("GET", "/x");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    asked
        .headers_mut()
        .insert("traceparent", trace.parse().expect("a value"));
    let service = scene.monitor.http().layer(handler);
    let response = service.oneshot(asked).await.expect("infallible");
    drop(response.into_body().collect().await);
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1);
    let facts = [("step", "2".to_owned()), ("userId", "7".to_owned())];
    assert_eq!(alerts[0].facts, facts);
    assert!(alerts[0].trace_id.is_some());
}
