//! The HTTP layer in real servers: axum on a port, two processes on one Redis.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, ETAG, IF_NONE_MATCH, TRANSFER_ENCODING, VARY,
};
use axum::http::{HeaderName, Request, Response};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use bilten_cache::http::CacheTags;
use bilten_cache::{Cache, Pattern, RedisClient};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{DEADLINE, PATIENCE, unique, with_each_client};

with_each_client! {
    a_page_of_one_process_is_served_by_the_other_and_a_change_takes_it_out_of_both,
}

/// A service on a port of its own.
struct Served {
    cache: Cache,
    address: SocketAddr,
    calls: Arc<AtomicU32>,
}

async fn event(State(calls): State<Arc<AtomicU32>>, Path(id): Path<u32>) -> impl IntoResponse {
    let call = calls.fetch_add(1, Ordering::SeqCst);
    let tags = CacheTags::new([format!("event:{id}")]);
    (
        [(CACHE_CONTROL, "max-age=60"), (VARY, "accept-language")],
        Extension(tags),
        format!("event {id}, call {call}"),
    )
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    (name, value): (HeaderName, &str),
) -> (Response<()>, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.example")
        .header(name, value)
        .body(Body::empty())
        .unwrap();
    let answer = tokio::time::timeout(DEADLINE, sender.send_request(request))
        .await
        .unwrap();
    let (parts, body) = answer.unwrap().into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
    (
        Response::from_parts(parts, ()),
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

impl Served {
    async fn start(cache: Cache) -> Self {
        let calls = Arc::new(AtomicU32::new(0));
        let app = Router::new()
            .route("/events/{id}", get(event).put(async || "changed"))
            .layer(cache.http().build().unwrap())
            .with_state(Arc::clone(&calls));
        Self {
            cache,
            address: serve(app).await,
            calls,
        }
    }

    async fn send(&self, method: &str, path: &str, language: &str) -> (Response<()>, String) {
        send(self.address, method, path, (ACCEPT_LANGUAGE, language)).await
    }

    async fn get(&self, path: &str) -> String {
        self.send("GET", path, "de").await.1
    }

    /// What comes in place of what was there before.
    async fn changes(&self, path: &str, before: &str) -> String {
        let asking = async {
            loop {
                let now = self.get(path).await;
                if now != before {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asking)
            .await
            .expect("it changes")
    }
}

#[tokio::test]
async fn a_page_goes_over_the_wire_as_it_came() {
    let served = Served::start(Cache::builder("shop").build().await.unwrap()).await;
    let (first, body) = served.send("GET", "/events/7", "de").await;
    let (second, again) = served.send("GET", "/events/7", "de").await;
    assert_eq!(body, "event 7, call 0");
    assert_eq!(body, again);
    assert_eq!(
        first.headers()["content-length"],
        second.headers()["content-length"]
    );
    assert_eq!(second.headers()["cache-status"], "shop; hit; ttl=60");
    let (head, nothing) = served.send("HEAD", "/events/7", "de").await;
    assert_eq!(
        (
            head.headers()["content-length"].to_str().unwrap(),
            nothing.as_str()
        ),
        ("15", "")
    );
}

/// RFC 9110 8.6: a length in a 304 is that of the page, and this one is not empty.
#[tokio::test]
async fn a_304_has_no_length_over_the_wire() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let page = async || ([(CACHE_CONTROL, "max-age=60"), (ETAG, "\"v1\"")], "a page");
    let app = Router::new().route("/", get(page));
    let address = serve(app.layer(cache.http().build().unwrap())).await;
    for how in ["by the handler", "from memory"] {
        let (answer, body) = send(address, "GET", "/", (IF_NONE_MATCH, "\"v1\"")).await;
        assert_eq!((answer.status().as_u16(), &*body), (304, ""), "{how}");
        assert!(!answer.headers().contains_key(CONTENT_LENGTH), "{how}");
        assert!(!answer.headers().contains_key(TRANSFER_ENCODING), "{how}");
    }
    let (whole, body) = send(address, "GET", "/", (IF_NONE_MATCH, "\"v0\"")).await;
    assert_eq!(
        (whole.headers()[CONTENT_LENGTH].as_bytes(), &*body),
        (&b"6"[..], "a page")
    );
}

async fn a_page_of_one_process_is_served_by_the_other_and_a_change_takes_it_out_of_both(
    client: RedisClient,
) {
    let (name, url) = (unique(), bilten_testbed::shared::redis().unwrap());
    let node = async || {
        let redis = bilten_cache::Redis::from(url.clone()).client(client);
        let cache = Cache::builder(&name).redis(redis).remote_budget(PATIENCE);
        Served::start(cache.build().await.unwrap()).await
    };
    let (one, two) = (node().await, node().await);
    assert_eq!(one.get("/events/7").await, "event 7, call 0");
    // Whether or not the first process has stored it already: the lease makes the second one wait.
    assert_eq!(two.get("/events/7").await, "event 7, call 0");
    assert_eq!(
        two.send("GET", "/events/7", "sl").await.1,
        "event 7, call 0",
        "by its own handler"
    );
    assert_eq!(two.calls.load(Ordering::SeqCst), 1, "another variant");

    // A change through one of them is seen by both, in all variants.
    assert_eq!(two.send("PUT", "/events/7", "de").await.1, "changed");
    assert_eq!(
        one.changes("/events/7", "event 7, call 0").await,
        "event 7, call 1"
    );
    assert_eq!(
        one.send("GET", "/events/7", "sl").await.1,
        "event 7, call 2"
    );

    // So is a tag, and a pattern. A page each: over one that is out of date the lease may be taken just after the other process stored its own.
    for (page, by_tag) in [("/events/8", true), ("/events/9", false)] {
        let before = one.get(page).await;
        assert_eq!(two.get(page).await, before);
        let _ = match by_tag {
            true => one.cache.invalidate_tag("event:8").await,
            false => {
                one.cache
                    .invalidate_pattern(&Pattern::prefix("http://shop.example/events"))
                    .await
            }
        };
        two.changes(page, &before).await;
        one.changes(page, &before).await;
    }
    assert_eq!(
        one.cache.stats().undecodable + two.cache.stats().undecodable,
        0
    );
}
