//! Ending without losing a request.

use crate::doubles::{health, ms, passing, patient};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, Version};
use axum::routing::get;
use bilten_health::Health;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_drain_lasts_at_least_its_minimum() {
    let begun = Instant::now();
    let drained = health([]).drain(5 * SECOND, 10 * SECOND).await;
    assert_eq!((drained.in_flight, begun.elapsed()), (0, 5 * SECOND));
}

// The order: a request is counted, the drain begins, the request ends after the minimum and before the maximum.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_the_last_request() {
    let health = health([]);
    let request = health.request();
    let begun = Instant::now();
    let draining = tokio::spawn({
        let health = health.clone();
        async move { health.drain(SECOND, 10 * SECOND).await }
    });
    tokio::time::sleep(3 * SECOND).await;
    assert!(!draining.is_finished());
    drop(request);
    assert_eq!(draining.await.unwrap().in_flight, 0);
    assert_eq!(begun.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_ever() {
    let health = health([]);
    let _requests = (health.request(), health.request());
    let begun = Instant::now();
    assert_eq!(health.drain(SECOND, 10 * SECOND).await.in_flight, 2);
    assert_eq!(begun.elapsed(), 10 * SECOND);
    assert_eq!(
        health.drain(20 * SECOND, SECOND).await.in_flight,
        2,
        "a minimum above the maximum counts as the maximum"
    );
    assert_eq!(begun.elapsed(), 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_an_end_is_no_overflow() {
    let health = health([]);
    assert_eq!(health.drain(ms(1), Duration::MAX).await.in_flight, 0);
    let begun = Instant::now();
    assert_eq!(
        health.drain(Duration::MAX, Duration::MAX).await.in_flight,
        0
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(24 * 3600));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_dropped_has_begun_the_shutdown() {
    let health = health([passing("a").in_readiness()]);
    assert!(
        tokio::time::timeout(ms(1), health.drain(SECOND, SECOND))
            .await
            .is_err()
    );
    assert!(
        !health
            .check_group(bilten_health::Group::Readiness)
            .await
            .healthy
    );
}

#[tokio::test]
async fn a_request_counts_until_its_body_has_been_sent() {
    let health = health([]);
    let app: Router = health.count_requests(Router::new().route("/", get(|| async { "hello" })));
    let response = app
        .oneshot(Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(
        response.headers()["content-length"],
        "5",
        "the size is still known"
    );
    assert_eq!(health.in_flight(), 1);
    axum::body::to_bytes(response.into_body(), 100)
        .await
        .unwrap();
    assert_eq!(health.in_flight(), 0);
}

#[tokio::test]
async fn a_shutdown_tells_clients_to_let_go_of_their_connections() {
    let health = health([]);
    let upgrade = get(|| async { (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade")]) });
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/socket", upgrade);
    let app: Router = health.count_requests(app);
    let connection = async |path: &str, version: Version| {
        let request = Request::get(path).version(version).body(Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        let value = response.headers().get("connection");
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(connection("/", Version::HTTP_11).await, None);
    health.begin_shutdown();
    assert_eq!(
        connection("/", Version::HTTP_11).await.as_deref(),
        Some("close")
    );
    assert_eq!(
        connection("/", Version::HTTP_2).await,
        None,
        "it has no such header"
    );
    assert_eq!(
        connection("/socket", Version::HTTP_11).await.as_deref(),
        Some("upgrade")
    );
}

#[tokio::test]
async fn a_request_whose_client_goes_away_counts_no_longer() {
    let health = health([]);
    let app: Router =
        health.count_requests(Router::new().route("/", get(std::future::pending::<()>)));
    let asking = app.oneshot(Request::get("/").body(Body::empty()).unwrap());
    assert!(tokio::time::timeout(ms(20), asking).await.is_err());
    assert_eq!(health.in_flight(), 0);
}

/// A server as a service runs it: signal, drain, stop accepting.
async fn serve(
    health: Health,
    app: Router,
    signal: oneshot::Receiver<()>,
) -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        let stop = async move {
            signal.await.unwrap();
            health.drain(ms(300), 60 * SECOND).await;
        };
        axum::serve(listener, app)
            .with_graceful_shutdown(stop)
            .await
            .unwrap();
    });
    (address, server)
}

async fn fetch(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status
        .map(|status| (status, answer))
        .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

// A load balancer sends requests to whoever is ready; the stop begins in the middle of a slow request.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_stop_loses_no_request() {
    let health = patient([passing("a").in_readiness()]);
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (say, wait) = (Arc::clone(&begun), Arc::clone(&go));
    let app = Router::new().route("/", get(|| async { "hello" })).route(
        "/slow",
        get(move || async move {
            say.notify_one();
            wait.notified().await;
            "done"
        }),
    );
    let app = health.count_requests(app).merge(health.routes());
    let (stop, signal) = oneshot::channel();
    let (address, server) = serve(health.clone(), app, signal).await;

    let in_traffic = Arc::new(AtomicBool::new(true));
    let mut balancer = JoinSet::new();
    for _ in 0..4 {
        let (address, in_traffic) = (address.clone(), Arc::clone(&in_traffic));
        balancer.spawn(async move {
            let mut answered = 0_u32;
            // Each sends one at least, however late it comes: the slow request keeps the server.
            while answered == 0 || in_traffic.load(Ordering::SeqCst) {
                let (status, _) = fetch(&address, "/")
                    .await
                    .expect("no request is refused or cut off");
                assert_eq!(status, 200);
                answered += 1;
            }
            answered
        });
    }
    let slow = tokio::spawn({
        let address = address.clone();
        async move { fetch(&address, "/slow").await }
    });
    begun.notified().await;
    assert_eq!(fetch(&address, "/readyz").await.unwrap().0, 200);

    stop.send(()).unwrap();
    let deadline = Instant::now() + 30 * SECOND;
    while fetch(&address, "/readyz").await.unwrap().0 == 200 {
        assert!(Instant::now() < deadline, "readiness never turned");
    }
    assert_eq!(
        fetch(&address, "/livez").await.unwrap().0,
        StatusCode::OK.as_u16()
    );
    // The balancer has seen the 503 and sends nothing new; only now does the slow request end.
    in_traffic.store(false, Ordering::SeqCst);
    assert!(
        balancer
            .join_all()
            .await
            .into_iter()
            .all(|answered| answered > 0)
    );
    assert!(!server.is_finished(), "it waits for the slow request");
    go.notify_one();
    let (status, answer) = slow.await.unwrap().unwrap();
    assert!(status == 200 && answer.ends_with("done"), "{answer}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_overrules_an_answer_that_keeps_its_connection() {
    let health = health([]);
    let keeps = [("connection", "Keep-Alive"), ("keep-alive", "timeout=5")];
    let app = Router::new()
        .route("/", get(move || async move { (keeps, "hello") }))
        .fallback(|| async { StatusCode::NOT_FOUND });
    let app: Router = health.count_requests(app).merge(health.routes());
    health.begin_shutdown();
    for path in ["/", "/nowhere"] {
        let request = Request::get(path).body(Body::empty());
        let response = app.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.headers()["connection"], "close", "{path}");
        assert!(!response.headers().contains_key("keep-alive"));
    }
}
