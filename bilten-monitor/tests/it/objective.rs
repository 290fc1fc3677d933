//! The error budget of requests, in the process.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use bilten_monitor::Monitor;
use bilten_monitor::alert::AlertKind;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::{Scene, eventually};

async fn answer(scene: &Scene, status: StatusCode, times: u32) {
    let service = scene
        .monitor
        .http()
        .layer(service_fn(move |_: Request<()>| {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = status;
            ready(Ok::<_, Infallible>(response))
        }));
    for _ in 0..times {
        let request = Request::get("/").body(()).expect("a request");
        service.clone().oneshot(request).await.expect("infallible");
    }
}

#[tokio::test]
async fn failing_requests_raise_one_alert_and_a_notice_when_it_is_over() {
    let scene = Scene::with(|builder| {
        builder
            .watchdog(Duration::from_millis(5))
            .recovery_notices(true)
            .objective(0.99)
    });
    answer(&scene, StatusCode::OK, 60).await;
    answer(&scene, StatusCode::NOT_FOUND, 10).await;
    answer(&scene, StatusCode::INTERNAL_SERVER_ERROR, 30).await;
    let mut alert = None;
    eventually("the alert", || {
        alert = scene.alerts.try_next();
        alert.is_some()
    })
    .await;
    let alert = alert.expect("just found");
    assert_eq!(
        (alert.kind, alert.subject.as_str()),
        (AlertKind::BudgetBurns, "requests")
    );
    let fact = |name| {
        let mut facts = alert.facts.iter();
        let found = facts.find(|fact| fact.0 == name).expect("the fact");
        found.1.parse::<f64>().expect("a number")
    };
    // The watchdog may have looked before the last of them had come, or between the two counts of one.
    let (failed, requests) = (fact("failed"), fact("requests"));
    assert!((10.0..=30.0).contains(&failed), "{alert:?}");
    assert!(
        (requests - failed - 70.0).abs() <= 1.0,
        "a client's fault is no failure: {alert:?}"
    );
    let factor = 100.0 * failed / requests;
    assert!((fact("times too fast") - factor).abs() < 0.1, "{alert:?}");

    scene.clock.advance(Duration::from_secs(7 * 60 * 60));
    eventually("the notice", || {
        scene.alerts.try_next().is_some_and(|alert| alert.recovered)
    })
    .await;
}

#[test]
fn an_objective_that_is_no_share_is_refused() {
    for bad in [0.0, 1.0, 99.9, f64::NAN] {
        let refused = Monitor::builder()
            .objective(bad)
            .build()
            .expect_err("no share");
        assert!(refused.to_string().contains("between 0 and 1"), "{refused}");
    }
}
