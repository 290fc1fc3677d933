//! The layer in a real axum server on loopback, with clients that misbehave.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Router, middleware};
use bilten_monitor::RequestContext;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::http_layer::{ACTIVE, COUNT};
use crate::scene::{SOON, Scene, eventually};

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// One request without a body over a connection of its own; the whole answer.
pub(crate) async fn fetch(address: SocketAddr, method: &str, path: &str) -> http::Response<Bytes> {
    send(address, method, path, Empty::new()).await
}

/// One request over a connection of its own; the whole answer.
pub(crate) async fn send<B>(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: B,
) -> http::Response<Bytes>
where
    B: http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "test")
        .body(body);
    let response = sender
        .send_request(request.expect("a request"))
        .await
        .expect("a response");
    let (head, body) = response.into_parts();
    http::Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
}

fn router(scene: &Scene) -> Router {
    Router::new()
        .route(
            "/users/{id}",
            get(|Path(id): Path<String>| async move { id }),
        )
        .route("/empty", get(|| async { http::StatusCode::NO_CONTENT }))
        .route(
            "/fails",
            post(|| async { http::StatusCode::INTERNAL_SERVER_ERROR }),
        )
        .route("/metrics", get(|| async { "metrics" }))
        .layer(scene.monitor.http())
}

#[tokio::test]
async fn axums_pattern_is_the_route() {
    let scene = Scene::new();
    let address = serve(router(&scene)).await;
    assert_eq!(fetch(address, "GET", "/users/42").await.body(), "42");
    assert_eq!(fetch(address, "HEAD", "/users/43").await.status(), 200);
    assert_eq!(fetch(address, "GET", "/empty").await.status(), 204);
    assert_eq!(fetch(address, "POST", "/fails").await.status(), 500);
    assert_eq!(fetch(address, "GET", "/nowhere/4711").await.status(), 404);
    assert_eq!(fetch(address, "GET", "/metrics").await.body(), "metrics");
    eventually("five requests", || scene.scrape().sum(COUNT, &[]) >= 5.0).await;
    let scrape = scene.scrape();
    let expected = [
        ("/users/{id}", "GET", "200", "success"),
        ("/users/{id}", "HEAD", "200", "success"),
        ("/empty", "GET", "204", "success"),
        ("/fails", "POST", "500", "error"),
        ("unmatched", "GET", "404", "success"),
    ];
    for (route, method, status, outcome) in expected {
        let labels = [
            ("http_route", route),
            ("http_request_method", method),
            ("http_response_status_code", status),
            ("outcome", outcome),
        ];
        assert_eq!(scrape.sum(COUNT, &labels), 1.0, "{route} {method}");
    }
    assert_eq!(scrape.sum(COUNT, &[]), 5.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    assert!(!scrape.text.contains("4711"));
}

#[tokio::test]
async fn a_body_that_ends_before_its_declared_length_is_an_error_and_not_a_success() {
    let scene = Scene::new();
    let short = || async {
        let body = Body::from_stream(futures_util::stream::iter([Ok::<_, Infallible>("short")]));
        ([("content-length", "1000")], body)
    };
    let router = Router::new().route("/short", get(short));
    let address = serve(router.layer(scene.monitor.http())).await;
    let mut client = TcpStream::connect(address).await.expect("connected");
    client
        .write_all(b"GET /short HTTP/1.1\r\nhost: t\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, client.read_to_end(&mut answer)).await;
    drop(read.expect("the server ends the connection"));
    eventually("the request", || scene.scrape().sum(COUNT, &[]) == 1.0).await;
    let labels = [("outcome", "error"), ("error_type", "short_body")];
    assert_eq!(scene.scrape().sum(COUNT, &labels), 1.0);
}

#[tokio::test]
async fn a_proxied_response_of_declared_length_zero_is_whole() {
    let scene = Scene::new();
    let empty = || async {
        let body = Body::from_stream(futures_util::stream::empty::<Result<Bytes, Infallible>>());
        ([("content-length", "0")], body)
    };
    let router = Router::new().route("/empty", get(empty));
    let address = serve(router.layer(scene.monitor.http())).await;
    assert_eq!(fetch(address, "GET", "/empty").await.body(), "");
    eventually("one request", || scene.scrape().sum(COUNT, &[]) > 0.0).await;
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[("outcome", "success")]), 1.0);
    assert_eq!(scrape.sum(COUNT, &[]), 1.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn a_request_that_passes_two_layers_of_one_monitor_is_one_request() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (entered, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, leave) = (Arc::clone(&entered), Arc::clone(&seen));
    let inner = Router::new().route(
        "/{id}",
        get(move || async move {
            enter.notify_one();
            leave.notified().await;
            "ok"
        }),
    );
    let router = Router::new()
        .nest("/api", inner.layer(scene.monitor.http()))
        .layer(scene.monitor.http())
        .layer(other.monitor.http());
    let address = serve(router).await;
    let asked = tokio::spawn(async move { fetch(address, "GET", "/api/7").await });
    entered.notified().await;
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 1.0);
    let running = scene.monitor.snapshot().requests;
    assert_eq!(running.iter().map(|route| route.in_flight).sum::<u64>(), 1);
    seen.notify_one();
    assert_eq!(asked.await.expect("joined").body(), "ok");
    for scene in [&scene, &other] {
        eventually("the request", || scene.scrape().sum(COUNT, &[]) > 0.0).await;
        let scrape = scene.scrape();
        assert_eq!(scrape.sum(COUNT, &[("http_route", "/api/{id}")]), 1.0);
        assert_eq!(
            scrape.sum(COUNT, &[]),
            1.0,
            "another monitor counts for itself"
        );
        assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    }
}

#[tokio::test]
async fn a_nested_router_keeps_the_whole_pattern() {
    let scene = Scene::new();
    let inner = Router::new().route("/{id}", get(|| async { "ok" }));
    let address = serve(
        Router::new()
            .nest("/api/events", inner)
            .layer(scene.monitor.http()),
    )
    .await;
    fetch(address, "GET", "/api/events/9").await;
    eventually("the request", || {
        scene
            .scrape()
            .sum(COUNT, &[("http_route", "/api/events/{id}")])
            == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_head_is_cancelled() {
    let scene = Scene::new();
    let entered = Arc::new(Notify::new());
    let arrived = Arc::clone(&entered);
    let stuck = get(move || async move {
        arrived.notify_one();
        std::future::pending::<&'static str>().await
    });
    let address = serve(
        Router::new()
            .route("/stuck", stuck)
            .layer(scene.monitor.http()),
    )
    .await;
    let mut client = TcpStream::connect(address).await.expect("connected");
    client
        .write_all(b"GET /stuck HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .expect("sent");
    tokio::time::timeout(SOON, entered.notified())
        .await
        .expect("the handler runs");
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 1.0);
    scene.clock.advance(Duration::from_millis(200));
    drop(client);
    eventually("the cancelled request", || {
        scene.scrape().sum(COUNT, &[("outcome", "cancelled")]) == 1.0
    })
    .await;
    let scrape = scene.scrape();
    assert_eq!(
        scrape.sum("http_server_request_duration_seconds_sum", &[]),
        0.2
    );
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    assert_eq!(scrape.values_of("http_response_status_code").len(), 0);
}

#[tokio::test]
async fn a_client_that_hangs_up_during_the_body_is_cancelled_with_the_status() {
    let scene = Scene::new();
    let endless = get(|| async {
        let chunks = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((
                Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b"tick"))),
                (),
            ))
        });
        Body::new(StreamBody::new(chunks))
    });
    let address = serve(
        Router::new()
            .route("/events", endless)
            .layer(scene.monitor.http()),
    )
    .await;
    let mut client = TcpStream::connect(address).await.expect("connected");
    client
        .write_all(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .expect("sent");
    let mut first = [0; 64];
    assert!(client.read(&mut first).await.expect("the head") > 0);
    assert_eq!(scene.scrape().sum(COUNT, &[]), 0.0, "still streaming");
    drop(client);
    let cancelled = [
        ("outcome", "cancelled"),
        ("http_response_status_code", "200"),
    ];
    eventually("the cancelled stream", || {
        scene.scrape().sum(COUNT, &cancelled) == 1.0
    })
    .await;
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn a_handler_that_panics_is_recorded_and_the_server_goes_on() {
    let scene = Scene::new();
    let panics = get(|| async {
        if true {
            panic!("as written");
        }
        "never"
    });
    let app = Router::new()
        .route("/panics", panics)
        .route("/fine", get(|| async { "fine" }))
        .layer(scene.monitor.http());
    let address = serve(app).await;
    let mut client = TcpStream::connect(address).await.expect("connected");
    client
        .write_all(b"GET /panics HTTP/1.1\r\nhost: test\r\n\r\n")
        .await
        .expect("sent");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.ok();
    eventually("the panic", || {
        scene.scrape().sum(COUNT, &[("outcome", "panicked")]) == 1.0
    })
    .await;
    assert_eq!(fetch(address, "GET", "/fine").await.body(), "fine");
    eventually("the next one", || {
        scene.scrape().sum(COUNT, &[("outcome", "success")]) == 1.0
    })
    .await;
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 0.0);
}

#[tokio::test]
async fn keep_alive_requests_are_each_their_own() {
    let scene = Scene::new();
    let address = serve(router(&scene)).await;
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a handshake");
    tokio::spawn(connection);
    for n in 0..200 {
        let request = http::Request::get(format!("/users/{n}"))
            .header("host", "test")
            .body(Empty::<Bytes>::new());
        let response = sender
            .send_request(request.expect("a request"))
            .await
            .expect("a response");
        drop(response.into_body().collect().await);
    }
    let labels = [("http_route", "/users/{id}"), ("outcome", "success")];
    eventually("200 requests", || {
        scene.scrape().sum(COUNT, &labels) == 200.0
    })
    .await;
    assert_eq!(scene.scrape().sum(COUNT, &[]), 200.0);
}

#[tokio::test]
async fn an_authentication_further_in_names_the_user_for_the_alert() {
    let scene = Scene::new();
    let clock = scene.clock.clone();
    let authenticate = middleware::from_fn(
        |request: axum::extract::Request, next: middleware::Next| async move {
            RequestContext::current()
                .expect("inside the layer")
                .set("userId", "user-7");
            next.run(request).await
        },
    );
    let slow = get(move || async move {
        clock.advance(Duration::from_secs(3));
        "done"
    });
    let app = Router::new()
        .route("/slow", slow)
        .layer(authenticate)
        .layer(scene.monitor.http());
    let address = serve(app).await;
    assert_eq!(fetch(address, "GET", "/slow").await.body(), "done");
    eventually("the request", || scene.scrape().sum(COUNT, &[]) == 1.0).await;
    let alerts = scene.alerts();
    assert_eq!(alerts.len(), 1);
    assert!(
        alerts[0].facts.contains(&("userId", "user-7".to_owned())),
        "{:?}",
        alerts[0].facts
    );
    assert!(!scene.scrape().text.contains("user-7"));
}

#[tokio::test]
async fn the_exporters_service_is_a_route_of_the_router() {
    let scene = Scene::new();
    let app = Router::new()
        .route("/x", get(|| async { "x" }))
        .layer(scene.monitor.http());
    let address = serve(app.route_service("/metrics", scene.exporter.service())).await;
    fetch(address, "GET", "/x").await;
    eventually("the request", || scene.scrape().sum(COUNT, &[]) == 1.0).await;
    let scraped = fetch(address, "GET", "/metrics").await;
    let text = String::from_utf8(scraped.into_body().to_vec()).expect("text");
    assert!(
        text.contains(r#"http_server_request_duration_seconds_count{"#),
        "{text}"
    );
}

#[tokio::test]
async fn the_routes_of_one_router_share_the_limit_on_names() {
    let scene = Scene::with(|builder| builder.max_label_values(2));
    let mut app = Router::new();
    for path in ["/a", "/b", "/c", "/d"] {
        app = app.route(path, get(async || "here"));
    }
    let address = serve(app.layer(scene.monitor.http())).await;
    for path in ["/a", "/b", "/c", "/d"] {
        fetch(address, "GET", path).await;
    }
    let scrape = scene.scrape();
    let routes = scrape.values_of("http_route");
    assert_eq!(
        routes.into_iter().collect::<Vec<_>>(),
        ["/a", "/b", "other"]
    );
    let other = [("http_route", "other")];
    assert_eq!(
        scrape.sum("http_server_request_duration_seconds_count", &other),
        2.0
    );
    let names: Vec<_> = scene
        .monitor
        .snapshot()
        .requests
        .into_iter()
        .map(|stats| stats.name)
        .collect();
    assert_eq!(names, ["other", "/a", "/b"]);
}

/// A socket lasts as long as somebody is there: that is no latency, and nothing is in flight.
#[tokio::test]
async fn an_upgraded_connection_is_over_with_its_head_and_still_works() {
    let scene = Scene::new();
    let echo = get(|request: http::Request<Body>| async move {
        tokio::spawn(async move {
            let socket = hyper::upgrade::on(request).await.expect("upgraded");
            let (mut read, mut write) = tokio::io::split(TokioIo::new(socket));
            tokio::io::copy(&mut read, &mut write)
                .await
                .expect("echoed");
        });
        let head = http::Response::builder().status(101);
        let head = head
            .header("connection", "upgrade")
            .header("upgrade", "echo");
        head.body(Body::empty()).expect("a response")
    });
    let router = Router::new().route("/socket", echo);
    let address = serve(router.layer(scene.monitor.http())).await;
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let ask = b"GET /socket HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(ask).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
    let scrape = scene.scrape();
    let upgraded = [("http_response_status_code", "101"), ("outcome", "success")];
    assert_eq!(scrape.sum(COUNT, &upgraded), 1.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    scene.clock.advance(Duration::from_secs(3600));
    stream.write_all(b"still here").await.expect("sent");
    let mut echoed = [0; 10];
    stream.read_exact(&mut echoed).await.expect("echoed");
    assert_eq!(&echoed, b"still here");
    drop(stream);
    assert_eq!(scene.scrape().sum(COUNT, &[]), 1.0);
    assert!(scene.alerts().is_empty());
}
