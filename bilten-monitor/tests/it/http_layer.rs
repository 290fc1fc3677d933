//! The tower layer on services of its own: outcomes, thresholds, sizes.

use std::convert::Infallible;
use std::future::{Future, Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scene::Scene;

pub(crate) const COUNT: &str = "http_server_request_duration_seconds_count";
pub(crate) const SUM: &str = "http_server_request_duration_seconds_sum";
pub(crate) const ACTIVE: &str = "http_server_active_requests";

pub(crate) fn route(uri: &http::Uri) -> Option<&'static str> {
    uri.path().starts_with("/users/").then_some("/users/{id}")
}

pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .expect("a request")
}

pub(crate) type Answer = Ready<Result<Response<Full<Bytes>>, Infallible>>;

pub(crate) fn answer(status: u16) -> Answer {
    let mut response = Response::new(Full::from("hello"));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    ready(Ok(response))
}

/// Sends one request through the layer and reads the whole answer.
pub(crate) async fn ask(scene: &Scene, method: &str, path: &str, status: u16) {
    let service = scene
        .monitor
        .http()
        .route(route)
        .layer(service_fn(move |_: Request<()>| answer(status)));
    let response = service
        .oneshot(request(method, path))
        .await
        .expect("infallible");
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(
        response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes(),
        "hello"
    );
}

#[tokio::test]
async fn a_server_error_has_an_error_type_and_a_client_error_has_none() {
    let scene = Scene::new();
    ask(&scene, "GET", "/users/1", 500).await;
    ask(&scene, "GET", "/users/1", 404).await;
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum(COUNT, &[("error_type", "500"), ("outcome", "error")]),
        1.0
    );
    let client = scrape
        .matching(COUNT, &[("http_response_status_code", "404")])
        .next()
        .expect("counted");
    assert_eq!(client.labels.get("error_type"), None);
    assert_eq!(client.labels["outcome"], "success");
}

#[tokio::test]
async fn an_error_of_the_service_is_recorded_once_by_its_type() {
    let scene = Scene::new();
    let failing =
        service_fn(|_: Request<()>| ready(Err::<Response<Full<Bytes>>, _>(std::fmt::Error)));
    let service = scene.monitor.http().route(route).layer(failing);
    assert_eq!(
        service.oneshot(request("GET", "/users/1")).await.map(drop),
        Err(std::fmt::Error)
    );
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 1.0);
    let series = scrape
        .matching(COUNT, &[("error_type", "Error"), ("outcome", "error")])
        .next()
        .expect("recorded");
    assert_eq!(series.labels.get("http_response_status_code"), None);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

#[test]
fn a_request_dropped_before_its_head_is_cancelled_with_its_time() {
    let scene = Scene::new();
    let never = service_fn(|_: Request<()>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut future = Box::pin(
        scene
            .monitor
            .http()
            .route(route)
            .layer(never)
            .call(request("GET", "/users/1")),
    );
    assert!(
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert_eq!(
        scene
            .scrape()
            .sum(ACTIVE, &[("http_request_method", "GET")]),
        1.0
    );
    scene.clock.advance(Duration::from_millis(200));
    drop(future);
    let scrape = scene.scrape();
    let series = scrape
        .matching(COUNT, &[("outcome", "cancelled")])
        .next()
        .expect("recorded");
    assert_eq!(series.value, 1.0);
    assert_eq!(series.labels.get("http_response_status_code"), None);
    assert_eq!(scrape.sum(SUM, &[]), 0.2);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

#[test]
fn a_panic_before_there_is_a_future_is_recorded() {
    let scene = Scene::new();
    let panicking = service_fn(|request: Request<()>| -> Answer { panic!("no {}", request.uri()) });
    let mut service = scene.monitor.http().route(route).layer(panicking);
    assert!(
        catch_unwind(AssertUnwindSafe(|| drop(
            service.call(request("GET", "/users/1"))
        )))
        .is_err()
    );
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum(COUNT, &[("outcome", "panicked"), ("error_type", "panic")]),
        1.0
    );
    assert_eq!(scrape.sum(COUNT, &[]), 1.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn a_panic_in_the_handler_is_recorded_once_and_goes_on() {
    let scene = Scene::new();
    let panicking = service_fn(|_: Request<()>| async {
        panic!("in the handler") as Result<Response<Full<Bytes>>, Infallible>
    });
    let future = scene
        .monitor
        .http()
        .route(route)
        .layer(panicking)
        .oneshot(request("GET", "/users/1"));
    let failed = tokio::spawn(async move { future.await.map(drop) })
        .await
        .expect_err("it panicked");
    assert!(failed.is_panic());
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[("outcome", "panicked")]), 1.0);
    assert_eq!(scrape.sum(COUNT, &[]), 1.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn a_route_can_have_a_threshold_of_its_own() {
    let scene = Scene::with(|builder| {
        builder
            .slow_request(None)
            .slow_request_for("/users/{id}", Duration::from_millis(10))
    });
    let clock = scene.clock.clone();
    let slow = service_fn(move |_: Request<()>| {
        clock.advance(Duration::from_secs(5));
        answer(200)
    });
    let mut service = scene.monitor.http().route(route).layer(slow);
    for path in ["/elsewhere", "/users/1"] {
        drop(
            service
                .call(request("GET", path))
                .await
                .expect("infallible")
                .into_body()
                .collect()
                .await,
        );
    }
    let subjects: Vec<_> = scene
        .alerts()
        .into_iter()
        .map(|alert| alert.subject)
        .collect();
    assert_eq!(subjects, ["/users/{id}"]);
}

#[tokio::test]
async fn two_layers_of_one_monitor_share_the_number_in_flight() {
    let scene = Scene::new();
    let hold = |_: Request<()>| pending::<Result<Response<Full<Bytes>>, Infallible>>();
    let (mut one, mut other) = (
        scene.monitor.http().layer(service_fn(hold)),
        scene.monitor.http().layer(service_fn(hold)),
    );
    let first = one.call(request("GET", "/a"));
    let second = other.call(request("GET", "/b"));
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 2.0);
    drop((first, second));
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
    assert_eq!(scene.scrape().sum(COUNT, &[("outcome", "cancelled")]), 2.0);
}

#[tokio::test]
async fn the_size_of_a_request_is_what_it_declares() {
    let scene = Scene::new();
    let service = scene
        .monitor
        .http()
        .route(route)
        .layer(service_fn(|_: Request<()>| answer(200)));
    let sized = Request::post("/users/1")
        .header("content-length", "1234")
        .body(())
        .expect("a request");
    drop(
        service
            .clone()
            .oneshot(sized)
            .await
            .expect("infallible")
            .into_body()
            .collect()
            .await,
    );
    let odd = Request::post("/users/1")
        .header("content-length", "many")
        .body(())
        .expect("a request");
    drop(
        service
            .oneshot(odd)
            .await
            .expect("infallible")
            .into_body()
            .collect()
            .await,
    );
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum("http_server_request_body_size_bytes_sum", &[]),
        1234.0
    );
    assert_eq!(
        scrape.sum("http_server_request_body_size_bytes_count", &[]),
        1.0
    );
    assert_eq!(
        scrape.sum(COUNT, &[("http_request_method", Method::POST.as_str())]),
        2.0
    );
}

/// A request that declares a body of 1234 bytes.
fn upload() -> Request<()> {
    let request = Request::post("/users/1").header("content-length", "1234");
    request.body(()).expect("a request")
}

#[tokio::test]
async fn the_size_of_a_request_is_there_though_no_response_ever_came() {
    const SIZE: &str = "http_server_request_body_size_bytes_sum";
    let scene = Scene::new();
    let layer = scene.monitor.http().route(route);
    let never = service_fn(|_: Request<()>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    drop(layer.layer(never).call(upload()));
    let panics = service_fn(|_: Request<()>| -> Answer { panic!("before its head") });
    let mut panicking = layer.layer(panics);
    let call = AssertUnwindSafe(|| drop(panicking.call(upload())));
    assert!(catch_unwind(call).is_err());
    let fails =
        service_fn(|_: Request<()>| ready(Err::<Response<Full<Bytes>>, _>(std::fmt::Error)));
    assert!(layer.layer(fails).oneshot(upload()).await.is_err());
    let scrape = scene.scrape();
    for outcome in ["cancelled", "panicked", "error"] {
        assert_eq!(scrape.sum(COUNT, &[("outcome", outcome)]), 1.0, "{outcome}");
    }
    let labels = [
        ("http_route", "/users/{id}"),
        ("http_request_method", "POST"),
    ];
    assert_eq!(scrape.sum(SIZE, &labels), 3.0 * 1234.0);
    let sizes = scrape.matching(SIZE, &labels).next().expect("recorded");
    assert_eq!(sizes.labels.get("http_response_status_code"), None);
    let sent = "http_server_response_body_size_bytes_count";
    assert_eq!(scrape.sum(sent, &[]), 0.0, "nothing was sent");
}

#[tokio::test]
async fn a_request_in_a_scope_in_a_request_is_still_one_and_a_spawned_one_is_its_own() {
    let scene = Scene::new();
    let monitor = scene.monitor.clone();
    let handler = service_fn(move |_: Request<()>| {
        let monitor = monitor.clone();
        async move {
            let inner = || {
                let service = service_fn(|_: Request<()>| answer(200));
                monitor
                    .http()
                    .layer(service)
                    .oneshot(request("GET", "/inner"))
            };
            let response = monitor.scope("work", inner()).await.expect("infallible");
            drop(response.into_body().collect().await);
            let spawned = tokio::spawn(inner()).await.expect("joined");
            drop(spawned.expect("infallible").into_body().collect().await);
            answer(200).await
        }
    });
    let layer = scene.monitor.http().route(route);
    let response = layer.layer(handler).oneshot(request("GET", "/users/1"));
    let body = response.await.expect("infallible").into_body();
    drop(body.collect().await);
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[("http_route", "/users/{id}")]), 1.0);
    assert_eq!(scrape.sum(COUNT, &[("http_route", "unmatched")]), 1.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn a_layer_between_two_of_another_monitor_lets_neither_count_twice() {
    let (first, second) = (Scene::new(), Scene::new());
    let layer = |scene: &Scene| scene.monitor.http().route(route);
    let inner = service_fn(|_: Request<()>| answer(200));
    let inner = layer(&second).layer(layer(&first).layer(inner));
    let service = layer(&first).layer(layer(&second).layer(inner));
    let response = service.oneshot(request("GET", "/users/1")).await;
    drop(response.expect("infallible").into_body().collect().await);
    for scene in [&first, &second] {
        let scrape = scene.scrape();
        assert_eq!(scrape.sum(COUNT, &[]), 1.0);
        assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    }
    // The thread knows of nothing any more.
    ask(&first, "GET", "/users/2", 200).await;
    ask(&second, "GET", "/users/2", 200).await;
    assert_eq!(first.scrape().sum(COUNT, &[]), 2.0);
    assert_eq!(second.scrape().sum(COUNT, &[]), 2.0);
}

#[tokio::test]
async fn an_error_without_a_types_name_is_told_by_its_kind() {
    type Two = (std::fmt::Error, u8);
    type Callback = fn(i32) -> Result<(), std::fmt::Error>;
    let scene = Scene::new();
    let tuple = || Err::<(), Two>((std::fmt::Error, 1));
    assert!(scene.monitor.query("tuple").run_sync(tuple).is_err());
    let boxed = || Err::<(), Box<dyn Fn(i32) -> Result<(), std::fmt::Error>>>(Box::new(|_| Ok(())));
    assert!(scene.monitor.query("boxed").run_sync(boxed).is_err());
    let pointer = || Err::<(), Callback>(|_| Ok(()));
    assert!(scene.monitor.query("pointer").run_sync(pointer).is_err());
    let service =
        service_fn(|_: Request<()>| ready(Err::<Response<Full<Bytes>>, Two>((std::fmt::Error, 1))));
    let failed = scene
        .monitor
        .http()
        .layer(service)
        .oneshot(request("GET", "/"));
    assert!(failed.await.is_err());
    let types = scene.scrape();
    assert_eq!(types.values_of("error_type"), ["Box", "fn", "tuple"].into());
}

#[tokio::test]
async fn a_length_that_cannot_have_come_is_no_size_and_no_fault_of_the_program() {
    const SIZE: &str = "http_server_request_body_size_bytes_sum";
    let scene = Scene::new();
    let layer = scene.monitor.http().route(route);
    let declares = |length: u64| {
        let request = Request::post("/users/1").header("content-length", length);
        request.body(()).expect("a request")
    };
    let kind = layer.layer(service_fn(|_: Request<()>| answer(200)));
    for length in [1234, u64::MAX, u64::MAX - 1, 1 << 40] {
        let response = kind.clone().oneshot(declares(length)).await;
        drop(response.expect("infallible").into_body().collect().await);
    }
    // Nor when no response ever came.
    let never = service_fn(|_: Request<()>| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    drop(layer.layer(never).call(declares(1 << 40)));
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(SIZE, &[]), 1234.0);
    assert_eq!(scrape.sum(COUNT, &[]), 5.0, "each request is counted");
    assert_eq!(scene.monitor.losses().rejected, 0, "anybody may send one");

    // In two minutes so much can come.
    let clock = scene.clock.clone();
    let slow = layer.layer(service_fn(move |_: Request<()>| {
        clock.advance(Duration::from_secs(120));
        answer(200)
    }));
    let response = slow.oneshot(declares(1 << 40)).await;
    drop(response.expect("infallible").into_body().collect().await);
    #[expect(clippy::cast_precision_loss, reason = "a power of two")]
    let came = (1_u64 << 40) as f64 + 1234.0;
    assert_eq!(scene.scrape().sum(SIZE, &[]), came);

    // What is refused for its size was not taken.
    let refuses = layer.layer(service_fn(|_: Request<()>| answer(413)));
    let response = refuses.oneshot(declares(1000)).await;
    drop(response.expect("infallible").into_body().collect().await);
    assert_eq!(scene.scrape().sum(SIZE, &[]), came);
    assert_eq!(scene.monitor.losses().rejected, 0, "anybody may send one");
}
