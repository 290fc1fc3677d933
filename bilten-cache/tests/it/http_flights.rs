//! Many requests at once, bodies that take their time or break, clients that leave.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use bilten_cache::Cache;
use bilten_cache::http::HttpCacheBuilder;
use futures_util::StreamExt;
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio::task::JoinSet;

use crate::harness::eventually;
use crate::site::{Broken, Seen, Site, fed, page, request, seconds, status};

fn all_at_once(site: &Site, n: usize) -> JoinSet<Seen> {
    let mut clients = JoinSet::new();
    for _ in 0..n {
        let site = site.clone();
        clients.spawn(async move { site.get("/a").await });
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_for_a_cold_page_call_the_handler_once() {
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        move |_, _| {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                let _ = gate.acquire().await;
                Ok(page("max-age=60", "once"))
            })
        },
    )
    .await;
    let clients = all_at_once(&site, 1_000);
    eventually("all wait", || site.cache.stats().coalesced == 999).await;
    open.add_permits(1);
    let seen = clients.join_all().await;
    assert!(seen.iter().all(|seen| seen.body == "once"));
    assert_eq!(site.calls(), 1);
    assert_eq!(
        seen.iter()
            .filter(|seen| seen.did().contains("collapsed"))
            .count(),
        999
    );
    assert_eq!(
        (site.cache.stats().misses, site.cache.stats().loads),
        (1_000, 1)
    );
}

/// Nobody who waited for a response that is for another may wait for the next one as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_an_unshared_page_are_not_served_one_after_another() {
    const OTHERS: usize = 20;
    let (gate, together) = (Arc::new(Semaphore::new(0)), Arc::new(Barrier::new(OTHERS)));
    let open = Arc::clone(&gate);
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        move |_, call| {
            let (gate, together) = (Arc::clone(&gate), Arc::clone(&together));
            Box::pin(async move {
                match call {
                    0 => drop(gate.acquire().await),
                    // All of them are in the handler at the same time, or none gets out.
                    _ => {
                        together.wait().await;
                    }
                }
                Ok(page("private", format!("{call}")))
            })
        },
    )
    .await;
    let clients = all_at_once(&site, OTHERS + 1);
    eventually("all wait", || site.cache.stats().coalesced == OTHERS as u64).await;
    open.add_permits(1);
    let mut bodies: Vec<String> = clients
        .join_all()
        .await
        .into_iter()
        .map(|seen| seen.body)
        .collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), OTHERS + 1, "each has its own");
}

#[tokio::test]
async fn for_some_seconds_nobody_waits_to_find_out_again() {
    let (site, clock) = Site::timed(
        |pages| pages.pass_for(seconds(10)),
        |_, _| page("private", "x"),
    )
    .await;
    site.get("/a").await;
    assert!(site.get("/a").await.did().ends_with("detail=uncacheable"));
    assert_eq!(site.cache.stats().loads, 2, "a load, and the note about it");
    clock.advance(seconds(11));
    assert!(site.get("/a").await.did().ends_with("detail=private"));
}

#[tokio::test]
async fn a_body_reaches_its_client_while_it_is_stored() {
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let site = Site::of(move |_, _| page("max-age=60", body.lock().unwrap().take().unwrap())).await;
    let mut first = Body::new(
        site.open(request("GET", "/a", &[]))
            .await
            .unwrap()
            .into_body(),
    )
    .into_data_stream();
    feed.send(Ok("one ")).unwrap();
    assert_eq!(first.next().await.unwrap().unwrap(), "one ");
    let waits = all_at_once(&site, 1);
    feed.send(Ok("two")).unwrap();
    drop(feed);
    assert_eq!(first.next().await.unwrap().unwrap(), "two");
    assert!(first.next().await.is_none());
    assert_eq!(waits.join_all().await[0].body, "one two");
    assert!(site.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_for_its_client_and_kept_for_nobody() {
    let site = Site::of(|_, call| {
        let (feed, body) = fed();
        feed.send(Ok("half of it")).unwrap();
        if call == 0 {
            feed.send(Err(Broken::other("the disk is gone"))).unwrap();
        }
        page("max-age=60", body)
    })
    .await;
    let response = site.open(request("GET", "/a", &[])).await.unwrap();
    let error = to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert!(!site.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_body_that_grows_too_large_streams_on_and_is_not_kept() {
    let (site, _clock) = Site::timed(
        |pages| pages.max_body_bytes(8),
        |request, _| {
            let (feed, body) = fed();
            for part in ["1234", "5678", "9abc", "defg"] {
                feed.send(Ok(part)).unwrap();
            }
            match request.uri().path() {
                "/long" => page("max-age=60", body),
                "/told" => page("max-age=60", "123456789"),
                _ => page("max-age=60", "12345678"),
            }
        },
    )
    .await;
    for (path, body, hit) in [
        ("/long", "123456789abcdefg", false),
        ("/told", "123456789", false),
        ("/fits", "12345678", true),
    ] {
        assert_eq!(site.get(path).await.body, body);
        let again = site.get(path).await;
        assert_eq!((again.body.as_str(), again.is_hit()), (body, hit), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_streams_on_and_frees_who_waits() {
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let (site, _clock) = Site::timed(
        |pages| pages.load_timeout(Duration::from_millis(200)),
        move |_, _| {
            page(
                "max-age=60",
                body.lock().unwrap().take().unwrap_or_else(|| "mine".into()),
            )
        },
    )
    .await;
    let mut first = Body::new(
        site.open(request("GET", "/a", &[]))
            .await
            .unwrap()
            .into_body(),
    )
    .into_data_stream();
    feed.send(Ok("one")).unwrap();
    assert_eq!(first.next().await.unwrap().unwrap(), "one");
    assert_eq!(
        site.get("/a").await.body,
        "mine",
        "the second one asks for himself"
    );
    feed.send(Ok("two")).unwrap();
    assert_eq!(first.next().await.unwrap().unwrap(), "two");
}

#[tokio::test]
async fn a_client_that_leaves_takes_nothing_away_from_the_page() {
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let site = Site::of(move |_, _| page("max-age=60", body.lock().unwrap().take().unwrap())).await;
    let response = site.open(request("GET", "/a", &[])).await.unwrap();
    feed.send(Ok("all ")).unwrap();
    drop(response);
    feed.send(Ok("of it")).unwrap();
    drop(feed);
    // Either it waits for the rest or it finds it stored.
    assert_eq!(site.get("/a").await.body, "all of it");
    assert!(site.get("/a").await.is_hit());
    assert_eq!(site.calls(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_takes_nothing_away_from_who_waits() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_started, may_go) = (Arc::clone(&started), Arc::clone(&go));
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        move |_, _| {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            Box::pin(async move {
                started.notify_one();
                go.notified().await;
                Ok(page("max-age=60", "x"))
            })
        },
    )
    .await;
    let first = tokio::spawn({
        let site = site.clone();
        async move { site.get("/a").await }
    });
    has_started.notified().await;
    let second = all_at_once(&site, 1);
    eventually("it waits", || site.cache.stats().coalesced == 1).await;
    first.abort();
    may_go.notify_one();
    assert_eq!(second.join_all().await[0].body, "x");
    assert_eq!(site.calls(), 1);
}

#[tokio::test]
async fn a_change_during_a_request_leaves_nothing_of_it() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (has_started, may_go) = (Arc::clone(&started), Arc::clone(&go));
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        move |request: Request<Body>, call| {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            Box::pin(async move {
                if call == 0 {
                    started.notify_one();
                    go.notified().await;
                }
                Ok(match request.method().as_str() {
                    "GET" => page("max-age=60", format!("{call}")),
                    _ => status(204),
                })
            })
        },
    )
    .await;
    let old = all_at_once(&site, 1);
    has_started.notified().await;
    site.send(request("PUT", "/a", &[])).await;
    assert_eq!(
        site.get("/a").await.body,
        "2",
        "whoever comes after the change does not wait for what began before"
    );
    may_go.notify_one();
    assert_eq!(old.join_all().await[0].body, "0");
    assert_eq!(site.get("/a").await.body, "2");
    assert_eq!(site.cache.stats().fills_refused, 1);
}

#[tokio::test]
async fn a_change_whose_client_leaves_takes_the_page_out_all_the_same() {
    let started = Arc::new(Notify::new());
    let has_started = Arc::clone(&started);
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        move |request: Request<Body>, _| {
            let started = Arc::clone(&started);
            Box::pin(async move {
                if request.method() == "PUT" {
                    started.notify_one();
                    pending::<()>().await;
                }
                Ok(page("max-age=60", "x"))
            })
        },
    )
    .await;
    site.get("/a").await;
    let change = tokio::spawn({
        let site = site.clone();
        async move { site.send(request("PUT", "/a", &[])).await }
    });
    has_started.notified().await;
    assert!(site.get("/a").await.is_hit());
    change.abort();
    let _ = change.await;
    site.get_until("/a", |seen| !seen.is_hit()).await;
}

#[tokio::test]
async fn a_handler_that_panics_is_500_and_the_next_one_is_asked() {
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        |_, call| {
            Box::pin(async move {
                assert_ne!(call, 0, "the first one panics");
                Ok(page("max-age=60", "x"))
            })
        },
    )
    .await;
    let seen = site.get("/a").await;
    assert_eq!(
        (seen.status.as_u16(), seen.did()),
        (500, "shop; fwd=uri-miss; detail=panic")
    );
    assert_eq!(site.get("/a").await.body, "x");
}

#[tokio::test]
async fn a_handler_that_never_answers_is_504_or_the_stale_page() {
    let clock = bilten_cache::test_util::ManualClock::new();
    let site = Site::with(
        Cache::builder("shop").clock(&clock),
        |pages| {
            pages
                .load_timeout(Duration::from_millis(500))
                .stale_if_error(seconds(600))
        },
        |request: Request<Body>, call| {
            Box::pin(async move {
                if call > 0 || request.uri().path() == "/never" {
                    pending::<()>().await;
                }
                Ok(page("max-age=10", "good"))
            })
        },
    )
    .await;
    site.get("/a").await;
    clock.advance(seconds(11));
    assert_eq!(site.get("/a").await.body, "good");
    assert_eq!(site.get("/never").await.status, 504);
}

#[tokio::test]
async fn a_page_whose_load_finds_no_place_is_503_or_the_stale_page() {
    let clock = bilten_cache::test_util::ManualClock::new();
    let held = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&held);
    let cache = Cache::builder("shop").clock(&clock).max_concurrent_loads(1);
    let cache = cache.build().await.unwrap();
    let pages = |pages: HttpCacheBuilder| pages.load_timeout(Duration::from_millis(300));
    let site = Site::on(
        cache.clone(),
        |settings| pages(settings).stale_if_error(seconds(600)),
        |_, _| Box::pin(async { Ok(page("max-age=10", "good")) }),
    );
    site.get("/a").await;
    clock.advance(seconds(11));
    // Another part of the service has the only place.
    let region = cache.region::<str, u32>("stock").build().unwrap();
    let load = async move |_| {
        gate.acquire().await.unwrap().forget();
        Ok::<_, std::io::Error>(1)
    };
    let busy = tokio::spawn(async move { region.get_or_load("tea", load).await });
    eventually("it has the place", || cache.stats().loads == 2).await;
    let seen = site.get("/b").await;
    assert_eq!(seen.status, 503);
    assert!(seen.did().ends_with("detail=overloaded"), "{}", seen.did());
    assert_eq!(site.get("/a").await.body, "good", "the stale one");
    assert_eq!((site.calls(), cache.stats().loads_refused), (1, 2));
    held.add_permits(1);
    busy.await.unwrap().unwrap();
    assert_eq!(site.get("/b").await.body, "good", "the place is free");
}

#[tokio::test]
async fn a_handler_that_asks_for_its_own_page_hears_508() {
    let itself = Arc::new(OnceLock::<Site>::new());
    let own = Arc::clone(&itself);
    let site = Site::with(
        Cache::builder("shop"),
        |pages| pages,
        move |_, _| {
            let own = own.get().unwrap().clone();
            Box::pin(async move {
                let inner = Box::pin(own.get("/a")).await;
                assert!(inner.did().ends_with("detail=recursive"), "{}", inner.did());
                Ok(page("max-age=10", inner.status.as_str().to_owned()))
            })
        },
    )
    .await;
    itself.set(site.clone()).ok().unwrap();
    let seen = site.get("/a").await;
    assert_eq!((seen.body.as_str(), site.calls()), ("508", 1));
    assert!(site.get("/a").await.is_hit(), "nothing hangs on it");
}

#[tokio::test]
async fn an_error_of_the_service_reaches_its_client_or_the_stale_page_does() {
    let clock = bilten_cache::test_util::ManualClock::new();
    let site = Site::with(
        Cache::builder("shop").clock(&clock),
        |pages| pages.stale_if_error(seconds(60)),
        |_, call| {
            Box::pin(async move {
                match call {
                    0 => Ok(page("max-age=10", "good")),
                    _ => Err(Broken::other("no upstream")),
                }
            })
        },
    )
    .await;
    site.get("/a").await;
    clock.advance(seconds(20));
    assert_eq!(site.get("/a").await.body, "good");
    clock.advance(seconds(60));
    let error = site.open(request("GET", "/a", &[])).await.unwrap_err();
    assert_eq!(error.to_string(), "no upstream");
}

/// A service that is busy until it is told otherwise.
#[derive(Clone)]
struct Busy(Arc<AtomicBool>);

impl tower::Service<Request<Body>> for Busy {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = std::future::Ready<Result<Response<Body>, Broken>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.0.load(Ordering::SeqCst) {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(page("max-age=60", "x")))
    }
}

#[tokio::test]
async fn what_is_stored_is_served_while_the_service_is_busy() {
    let busy = Arc::new(AtomicBool::new(false));
    let site = Site::around(Busy(Arc::clone(&busy))).await;
    site.get("/a").await;
    busy.store(true, Ordering::SeqCst);
    assert!(site.get("/a").await.is_hit());
    let cold = site.open(request("GET", "/b", &[]));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), cold)
            .await
            .is_err()
    );
}
