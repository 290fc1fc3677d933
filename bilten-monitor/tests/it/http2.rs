//! The layer in a real hyper server that speaks HTTP/2 without TLS: many requests on one connection, and streams that
//! are reset while the connection goes on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::http_layer::{ACTIVE, COUNT};
use crate::scene::{SOON, Scene, eventually};

type Client = SendRequest<Full<Bytes>>;

/// A server whose every connection speaks HTTP/2 from its first byte on.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = TowerToHyperService::new(router.clone());
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn connect(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.expect("connected");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = handshake.await.expect("a handshake");
    tokio::spawn(connection);
    client
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://test{path}"))
        .body(Full::from(body));
    request.expect("a request")
}

async fn whole(response: Response<Incoming>) -> (u16, Bytes) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body");
    (status, body.to_bytes())
}

fn router(scene: &Scene) -> Router {
    let trailed = || async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let data = Frame::data(Bytes::from_static(b"message"));
        let frames = [data, Frame::trailers(trailers)].map(Ok::<_, Infallible>);
        Body::new(StreamBody::new(stream::iter(frames)))
    };
    Router::new()
        .route("/users/{id}", get(|Path(id): Path<String>| async { id }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/empty", get(|| async { http::StatusCode::NO_CONTENT }))
        .route("/trailed", get(trailed))
        .layer(scene.monitor.http())
}

#[tokio::test]
async fn requests_of_one_http2_connection_are_each_their_own_with_their_bytes() {
    let scene = Scene::new();
    let mut client = connect(serve(router(&scene)).await).await;
    let asked = [
        request("GET", "/users/42", ""),
        request("POST", "/echo", "a body of 20 letters"),
        request("HEAD", "/users/123456789", ""),
        request("GET", "/empty", ""),
        request("GET", "/trailed", ""),
        request("GET", "/nowhere", ""),
    ];
    // All of them are on their way at once.
    let answers = asked.map(|request| client.send_request(request));
    let mut answered = Vec::new();
    for answer in answers {
        answered.push(whole(answer.await.expect("a response")).await);
    }
    let expected = [
        (200, "42"),
        (200, "a body of 20 letters"),
        (200, ""),
        (204, ""),
        (200, "message"),
        (404, ""),
    ];
    assert_eq!(
        answered,
        expected.map(|(status, body)| (status, Bytes::from(body)))
    );
    eventually("six requests", || scene.scrape().sum(COUNT, &[]) >= 6.0).await;
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &[]), 6.0);
    assert_eq!(scrape.sum(COUNT, &[("outcome", "success")]), 6.0);
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
    let size = |side: &str, route| {
        let name = format!("http_server_{side}_body_size_bytes_sum");
        scrape.sum(&name, &[("http_route", route)])
    };
    assert_eq!(size("request", "/echo"), 20.0);
    assert_eq!(size("response", "/echo"), 20.0);
    assert_eq!(size("response", "/users/{id}"), 2.0, "a HEAD has no body");
    assert_eq!(size("response", "/trailed"), 7.0, "trailers are no body");
}

#[tokio::test]
async fn a_stream_that_is_reset_is_cancelled_and_its_connection_goes_on() {
    let scene = Scene::new();
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (arrived, left) = (Arc::clone(&entered), Arc::clone(&leave));
    let stuck = get(move || async move {
        let _left = Leaves(left);
        arrived.notify_one();
        std::future::pending::<&'static str>().await
    });
    let endless = get(|| async {
        let first = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"first")));
        let then = stream::pending::<Result<Frame<Bytes>, Infallible>>();
        Body::new(StreamBody::new(futures_util::StreamExt::chain(
            stream::iter([first]),
            then,
        )))
    });
    let router = Router::new()
        .route("/stuck", stuck)
        .route("/endless", endless)
        .route("/after", get(|| async { "after" }))
        .layer(scene.monitor.http());
    let mut client = connect(serve(router).await).await;

    let before_the_head = tokio::spawn(client.send_request(request("GET", "/stuck", "")));
    let in_time = |event| tokio::time::timeout(SOON, event);
    in_time(entered.notified()).await.expect("the handler runs");
    assert_eq!(scene.scrape().sum(ACTIVE, &[]), 1.0);
    before_the_head.abort();
    in_time(leave.notified())
        .await
        .expect("the handler is dropped");

    let response = client.send_request(request("GET", "/endless", "")).await;
    let mut response = response.expect("a head");
    let frame = response.frame().await.expect("a frame").expect("no error");
    assert_eq!(frame.into_data().expect("data"), "first");
    drop(response);

    let cancelled = [("outcome", "cancelled")];
    eventually("both are counted", || {
        scene.scrape().sum(COUNT, &cancelled) >= 2.0
    })
    .await;
    let after = client.send_request(request("GET", "/after", "")).await;
    assert_eq!(whole(after.expect("the same connection")).await.1, "after");
    eventually("the third", || scene.scrape().sum(COUNT, &[]) >= 3.0).await;
    let scrape = scene.scrape();
    assert_eq!(scrape.sum(COUNT, &cancelled), 2.0);
    assert_eq!(scrape.sum(COUNT, &[]), 3.0);
    let with_status = [cancelled[0], ("http_response_status_code", "200")];
    assert_eq!(scrape.sum(COUNT, &with_status), 1.0, "one had a head");
    let sent = "http_server_response_body_size_bytes_sum";
    assert_eq!(
        scrape.sum(sent, &cancelled),
        5.0,
        "what was sent until then"
    );
    assert_eq!(scrape.sum(ACTIVE, &[]), 0.0);
}

/// Tells when its owner is dropped.
struct Leaves(Arc<Notify>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
