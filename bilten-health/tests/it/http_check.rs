//! The check that asks another service.

use crate::doubles::{Count, ms, of, patient};
use crate::port::Port;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::get;
use bilten_health::{Health, Reason, Status, checks};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Notify;

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    format!("http://{address}")
}

#[tokio::test]
async fn only_an_answer_from_200_to_299_is_up() {
    let elsewhere = Count::default();
    let counter = elsewhere.clone();
    let other =
        serve(Router::new().route("/", get(move || async move { counter.add().to_string() })))
            .await;
    let app = Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route(
            "/moved",
            get(move || async move { Redirect::temporary(&other) }),
        );
    let base = serve(app).await;
    for (path, status) in [
        ("ok", 200),
        ("none", 204),
        ("nowhere", 404),
        ("broken", 500),
        ("moved", 307),
    ] {
        let report = patient([checks::http("other", format!("{base}/{path}"))])
            .check()
            .await;
        let check = of(&report, "other");
        assert_eq!(check.details["http_status"], status);
        assert_eq!(check.healthy, status < 300, "{path}");
    }
    assert_eq!(elsewhere.get(), 0, "a redirect is not followed");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_down() {
    let base = serve(Router::new().route("/", get(std::future::pending::<()>))).await;
    let report = patient([checks::http("other", base).timeout(ms(200))])
        .check()
        .await;
    assert_eq!(of(&report, "other").reason, Some(Reason::Timeout));

    let closed = Port::keep();
    let url = format!("http://{}", closed.address);
    let report = patient([checks::http("other", url)]).check().await;
    assert_eq!(
        (report.status, of(&report, "other").reason),
        (Status::Down, Some(Reason::Failed))
    );
}

// The order: the headers come, the body is never sent; a check that read it would time out.
#[tokio::test]
async fn the_body_is_not_read() {
    let never = Arc::new(Notify::new());
    let endless = move || {
        let never = Arc::clone(&never);
        async move {
            Body::from_stream(futures_util::stream::once(async move {
                never.notified().await;
                Ok::<_, std::io::Error>(Bytes::new())
            }))
        }
    };
    let base = serve(Router::new().route("/", get(endless))).await;
    assert!(patient([checks::http("other", base)]).check().await.healthy);
}

// A resolver that hangs takes its thread with it, so it may be none of those that the process shares: here the only one is taken.
#[test]
fn a_name_is_looked_up_on_no_thread_of_the_process() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build();
    let runtime = runtime.unwrap();
    let (_free, taken) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        tokio::task::spawn_blocking(move || taken.recv());
        let base = serve(Router::new().route("/", get(|| async { "fine" }))).await;
        let url = base.replace("127.0.0.1", "localhost");
        let health = patient([checks::http("other", url).cache(ms(0))]);
        for _ in 0..2 {
            let report = health.check().await;
            assert!(of(&report, "other").healthy, "{report:?}");
        }
    });
}

#[test]
fn urls_that_can_never_work_are_refused_at_build() {
    let build = |url: &str| Health::builder().check(checks::http("other", url)).build();
    for url in [
        "",
        "not a url",
        "host",
        "/path",
        "ftp://host/",
        "http://bob:hunter2@host/",
        "http://",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:abc/",
        "http://:80/",
    ] {
        let error = build(url).unwrap_err().to_string();
        assert!(
            error.contains("check `other`") && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert!(build("http://host/").is_ok());
}
