//! A handler behind the HTTP layer, as its tests need one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode, header::CACHE_CONTROL};
use bilten_cache::http::{CacheTags, CachedService, HttpCacheBuilder};
use bilten_cache::test_util::ManualClock;
use bilten_cache::{Cache, CacheBuilder};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use crate::harness::DEADLINE;

pub(crate) type Broken = std::io::Error;

pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Broken>> + Send>>;
type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Broken>;

/// A handler and what is kept of it.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) cache: Cache,
    service: CachedService<Inner>,
    calls: Arc<AtomicU32>,
}

/// What a client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    /// What the cache says that it did.
    pub(crate) fn did(&self) -> &str {
        self.header("cache-status")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.did().contains("; hit")
    }
}

impl Site {
    pub(crate) async fn of<F>(handler: F) -> Self
    where
        F: Fn(Request<Body>, u32) -> Response<Body> + Send + Sync + 'static,
    {
        Self::with(
            Cache::builder("shop"),
            |pages| pages,
            move |request, call| {
                let response = handler(request, call);
                Box::pin(async move { Ok(response) })
            },
        )
        .await
    }

    /// With a clock that the test moves.
    pub(crate) async fn timed<F>(
        settings: impl FnOnce(HttpCacheBuilder) -> HttpCacheBuilder,
        handler: F,
    ) -> (Self, ManualClock)
    where
        F: Fn(Request<Body>, u32) -> Response<Body> + Send + Sync + 'static,
    {
        let clock = ManualClock::new();
        let cache = Cache::builder("shop").clock(&clock);
        let site = Self::with(cache, settings, move |request, call| {
            let response = handler(request, call);
            Box::pin(async move { Ok(response) })
        });
        (site.await, clock)
    }

    /// The handler gets the request and how many came before it.
    pub(crate) async fn with<F>(
        cache: CacheBuilder,
        settings: impl FnOnce(HttpCacheBuilder) -> HttpCacheBuilder,
        handler: F,
    ) -> Self
    where
        F: Fn(Request<Body>, u32) -> Answering + Send + Sync + 'static,
    {
        Self::on(cache.build().await.unwrap(), settings, handler)
    }

    /// On a cache that others use as well.
    pub(crate) fn on<F>(
        cache: Cache,
        settings: impl FnOnce(HttpCacheBuilder) -> HttpCacheBuilder,
        handler: F,
    ) -> Self
    where
        F: Fn(Request<Body>, u32) -> Answering + Send + Sync + 'static,
    {
        let calls = Arc::new(AtomicU32::new(0));
        let (handler, counted) = (Arc::new(handler), Arc::clone(&calls));
        let inner = service_fn(move |request| {
            let (handler, call) = (Arc::clone(&handler), counted.fetch_add(1, Ordering::SeqCst));
            async move { handler(request, call).await }
        });
        let layer = settings(cache.http()).build().unwrap();
        Self {
            service: layer.layer(BoxCloneSyncService::new(inner)),
            cache,
            calls,
        }
    }

    /// The same in front of another service.
    pub(crate) async fn around<S>(inner: S) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = Broken>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        let cache = Cache::builder("shop").build().await.unwrap();
        Self {
            service: cache
                .http()
                .build()
                .unwrap()
                .layer(BoxCloneSyncService::new(inner)),
            cache,
            calls: Arc::default(),
        }
    }

    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The response before its body is read.
    pub(crate) async fn open(
        &self,
        request: Request<Body>,
    ) -> Result<Response<bilten_cache::http::CachedBody<Body>>, Broken> {
        let answer = self.service.clone().oneshot(request);
        tokio::time::timeout(DEADLINE, answer)
            .await
            .expect("an answer")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Seen {
        let (parts, body) = self.open(request).await.unwrap().into_parts();
        let body = tokio::time::timeout(DEADLINE, to_bytes(Body::new(body), usize::MAX));
        let body = body.await.expect("a body").unwrap();
        Seen {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, uri: &str) -> Seen {
        self.get_with(uri, &[]).await
    }

    /// Asks until it is so.
    pub(crate) async fn get_until(&self, uri: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let asking = async {
            loop {
                let seen = self.get(uri).await;
                if is_so(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asking)
            .await
            .expect("it becomes so")
    }

    pub(crate) async fn get_with(&self, uri: &str, headers: &[(&str, &str)]) -> Seen {
        self.send(request("GET", uri, headers)).await
    }
}

pub(crate) fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// A response that says so much about being kept.
pub(crate) fn page(cache_control: &str, body: impl Into<Body>) -> Response<Body> {
    Response::builder()
        .header(CACHE_CONTROL, cache_control)
        .body(body.into())
        .unwrap()
}

pub(crate) fn status(code: u16) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::from("broken"))
        .unwrap()
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A body that the test feeds.
pub(crate) fn fed() -> (
    tokio::sync::mpsc::UnboundedSender<Result<&'static str, Broken>>,
    Body,
) {
    let (feed, mut food) = tokio::sync::mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| food.poll_recv(cx));
    (feed, Body::from_stream(stream))
}

pub(crate) fn with(
    mut response: Response<Body>,
    name: &'static str,
    value: &str,
) -> Response<Body> {
    response.headers_mut().append(name, value.parse().unwrap());
    response
}

pub(crate) fn tagged(mut response: Response<Body>, tag: &str) -> Response<Body> {
    response.extensions_mut().insert(CacheTags::new([tag]));
    response
}
