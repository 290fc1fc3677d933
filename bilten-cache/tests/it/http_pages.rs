//! What is kept, for how long, and for whom.

use std::time::Instant;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bilten_cache::Cache;
use bilten_cache::http::HttpCacheBuilder;
use bilten_cache::test_util::FaultyRemote;

use crate::harness::DEADLINE;
use crate::site::{Answering, Site, page, request, seconds, status, tagged, with};

#[tokio::test]
async fn a_stored_page_is_served_with_its_age() {
    let (site, clock) = Site::timed(
        |pages| pages.x_cache(true),
        |_, call| page("max-age=60", format!("page {call}")),
    )
    .await;
    let first = site.get("/events").await;
    assert_eq!(
        (first.body.as_str(), first.header("x-cache")),
        ("page 0", "MISS")
    );
    assert_eq!(first.did(), "shop; fwd=uri-miss; fwd-status=200; stored");
    clock.advance(seconds(20));
    let second = site.get("/events").await;
    assert_eq!(
        (
            second.body.as_str(),
            second.header("age"),
            second.header("x-cache")
        ),
        ("page 0", "20", "HIT")
    );
    assert_eq!(second.did(), "shop; hit; ttl=40");
    assert!(second.headers.contains_key("date"));
    clock.advance(seconds(40));
    assert_eq!(site.get("/events").await.body, "page 1");
    let stats = site.cache.stats();
    assert_eq!((stats.hits_memory, stats.misses, stats.loads), (1, 2, 2));
}

#[tokio::test]
async fn what_is_for_one_client_is_never_kept() {
    let says = [
        "/no-store",
        "/private",
        "/cookie",
        "/vary",
        "/silent",
        "/error",
        "/malformed",
        "/negative",
        "/two-ages",
    ];
    let site = Site::of(|request, _| match request.uri().path() {
        "/no-store" => page("max-age=60, no-store", "x"),
        "/private" => page("private=\"x\", max-age=60", "x"),
        "/cookie" => with(page("max-age=60", "x"), "set-cookie", "session=1"),
        "/vary" => with(page("max-age=60", "x"), "vary", "accept, *"),
        "/error" => status(500),
        "/malformed" => page("max-age=soon", "x"),
        "/negative" => page("max-age=-5", "x"),
        "/two-ages" => page("max-age=60, max-age=0", "x"),
        _ => Response::new(Body::from("x")),
    })
    .await;
    for path in says {
        let before = site.calls();
        for _ in 0..3 {
            assert!(!site.get(path).await.is_hit(), "{path}");
        }
        assert_eq!(site.calls(), before + 3, "{path}");
    }
}

#[tokio::test]
async fn requests_that_are_not_plain_reads_go_by() {
    let site = Site::of(|_, _| page("public, max-age=60", "x")).await;
    for headers in [
        &[("authorization", "Bearer x")][..],
        &[("range", "bytes=0-1")],
        &[("if-match", "\"a\"")],
        &[("content-length", "4")],
        &[("cache-control", "no-store")],
    ] {
        for _ in 0..2 {
            let before = site.calls();
            assert!(!site.get_with("/a", headers).await.is_hit());
            assert_eq!(site.calls(), before + 1, "{headers:?}");
        }
    }
    assert!(!site.get("/a").await.is_hit(), "none of them left anything");
    assert!(site.get("/a").await.is_hit());
}

#[tokio::test]
async fn credentials_take_part_where_both_sides_allow_it() {
    let (site, _clock) = Site::timed(
        |pages| pages.authorized(true),
        |request, _| match request.uri().path() {
            "/all" => page("public, max-age=60", "x"),
            _ => page("max-age=60", "x"),
        },
    )
    .await;
    let auth = [("authorization", "Bearer x")];
    for (path, hit) in [("/all", true), ("/mine", false)] {
        site.get_with(path, &auth).await;
        assert_eq!(site.get_with(path, &auth).await.is_hit(), hit, "{path}");
    }
}

#[tokio::test]
async fn head_is_answered_from_the_page_and_never_makes_one() {
    let site = Site::of(|_, _| page("max-age=60", "twelve bytes")).await;
    let head = || request("HEAD", "/a", &[]);
    assert!(!site.send(head()).await.is_hit());
    assert!(!site.get("/a").await.is_hit());
    let seen = site.send(head()).await;
    assert_eq!(
        (
            seen.is_hit(),
            seen.body.as_str(),
            seen.header("content-length")
        ),
        (true, "", "12")
    );
}

#[tokio::test]
async fn a_client_that_has_the_page_gets_304() {
    let site = Site::of(|_, _| with(page("max-age=60", "x"), "etag", "\"v1\"")).await;
    let has = |tag| [("if-none-match", tag)];
    let first = site.get_with("/a", &has("\"v1\"")).await;
    assert_eq!((first.status.as_u16(), first.body.as_str()), (304, ""));
    let hit = site.get_with("/a", &has("W/\"v1\"")).await;
    assert_eq!(
        (hit.status.as_u16(), hit.is_hit(), hit.header("etag")),
        (304, true, "\"v1\"")
    );
    assert_eq!(site.get_with("/a", &has("\"v0\"")).await.status, 200);
    assert_eq!(site.calls(), 1);
}

#[tokio::test]
async fn a_page_that_is_still_good_lives_on_with_its_body_and_tags() {
    let (site, clock) = Site::timed(
        |pages| pages,
        |request, call| match request.headers().get("if-none-match") {
            None => with(
                tagged(page("max-age=10", format!("body {call}")), "hot"),
                "etag",
                "\"v1\"",
            ),
            Some(tag) => {
                assert_eq!(tag, "\"v1\"");
                let mut response = with(page("max-age=20", Body::empty()), "x-new", "yes");
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
        },
    )
    .await;
    site.get("/a").await;
    clock.advance(seconds(11));
    let renewed = site.get_with("/a", &[("if-none-match", "\"other\"")]).await;
    assert_eq!(
        (renewed.status.as_u16(), renewed.body.as_str()),
        (200, "body 0")
    );
    assert!(
        renewed.did().contains("fwd=stale; fwd-status=304"),
        "{}",
        renewed.did()
    );
    clock.advance(seconds(19));
    let hit = site.get("/a").await;
    assert_eq!(
        (
            hit.is_hit(),
            hit.header("age"),
            hit.header("x-new"),
            hit.body.as_str()
        ),
        (true, "19", "yes", "body 0")
    );
    let _ = site.cache.invalidate_tag("hot").await;
    assert_eq!(
        site.get("/a").await.body,
        "body 2",
        "not asked with the tag of what was taken out"
    );
}

#[tokio::test]
async fn a_stale_page_is_served_while_one_request_refreshes_it() {
    let (site, clock) = Site::timed(
        |pages| pages,
        |_, call| page("max-age=10, stale-while-revalidate=30", format!("{call}")),
    )
    .await;
    site.get("/a").await;
    clock.advance(seconds(15));
    let stale = site.get("/a").await;
    assert_eq!(
        (stale.body.as_str(), stale.did()),
        ("0", "shop; hit; ttl=-5; detail=stale-while-revalidate")
    );
    let fresh = site.get_until("/a", |seen| seen.body == "1").await;
    assert_eq!(fresh.did(), "shop; hit; ttl=10");
    assert_eq!(site.calls(), 2);
}

#[tokio::test]
async fn a_stale_page_stands_in_for_a_failing_origin_but_not_once_it_was_removed() {
    let (site, clock) = Site::timed(
        |pages| pages.stale_if_error(seconds(600)),
        |_, call| match call {
            0 | 4 => tagged(page("max-age=10", "good"), "hot"),
            _ => status(503),
        },
    )
    .await;
    site.get("/a").await;
    clock.advance(seconds(11));
    let seen = site.get("/a").await;
    assert_eq!((seen.status.as_u16(), seen.body.as_str()), (200, "good"));
    assert!(seen.did().contains("stale-if-error"));
    assert_eq!(site.calls(), 2);
    assert!(
        site.get("/a").await.is_hit(),
        "and the origin is left alone for a while"
    );
    assert_eq!(site.calls(), 2);
    clock.advance(seconds(6));
    site.get("/a").await;
    assert_eq!(site.calls(), 3);
    let _ = site.cache.invalidate_tag("hot").await;
    assert_eq!(site.get("/a").await.status, 503);
}

#[tokio::test]
async fn must_revalidate_forbids_a_stand_in() {
    let (site, clock) = Site::timed(
        |pages| {
            pages
                .stale_if_error(seconds(600))
                .stale_while_revalidate(seconds(600))
        },
        |_, call| match call {
            0 => with(page("max-age=10, must-revalidate", "good"), "etag", "\"a\""),
            _ => status(502),
        },
    )
    .await;
    site.get("/a").await;
    clock.advance(seconds(11));
    assert_eq!(site.get("/a").await.status, 502);
}

#[tokio::test]
async fn a_request_can_ask_for_more_and_for_less() {
    let (site, clock) = Site::timed(
        |pages| pages,
        |_, call| page("max-age=10, stale-while-revalidate=60", format!("{call}")),
    )
    .await;
    let ask = |wish: &'static str| {
        let site = site.clone();
        async move { site.get_with("/a", &[("cache-control", wish)]).await }
    };
    assert_eq!(ask("only-if-cached").await.status, 504);
    assert_eq!(site.calls(), 0);
    site.get("/a").await;
    assert_eq!(ask("only-if-cached").await.body, "0");
    let renewed = ask("no-cache").await;
    assert_eq!(
        (renewed.body.as_str(), renewed.did()),
        ("1", "shop; fwd=request; fwd-status=200; stored")
    );
    assert_eq!(site.get("/a").await.body, "1", "and all others have it too");
    clock.advance(seconds(8));
    assert_eq!(ask("min-fresh=3").await.body, "2");
    clock.advance(seconds(30));
    assert_eq!(ask("max-stale=20").await.body, "2");
    assert_eq!(site.calls(), 3);
}

#[tokio::test]
async fn the_wishes_of_requests_can_be_turned_off() {
    let (site, _clock) = Site::timed(
        |pages| pages.request_directives(false),
        |_, call| page("max-age=10", format!("{call}")),
    )
    .await;
    site.get("/a").await;
    for wish in ["no-cache", "no-store", "max-age=0"] {
        assert!(
            site.get_with("/a", &[("cache-control", wish)])
                .await
                .is_hit(),
            "{wish}"
        );
    }
}

#[tokio::test]
async fn a_lifetime_of_the_operators_own_is_for_strangers_only() {
    let (site, _clock) = Site::timed(
        |pages| pages.time_to_live(seconds(5)),
        |_, _| Response::new(Body::from("x")),
    )
    .await;
    let cookie = [("cookie", "session=1")];
    site.get_with("/a", &cookie).await;
    assert!(!site.get("/a").await.is_hit());
    assert!(site.get("/a").await.is_hit());
    let known = site.get_with("/a", &cookie).await;
    assert!(
        !known.is_hit() && known.did().ends_with("detail=cookie"),
        "{}",
        known.did()
    );
    let calls = site.calls();
    let sparing = [cookie[0], ("cache-control", "only-if-cached")];
    assert_eq!(site.get_with("/a", &sparing).await.status, 504);
    assert_eq!(site.calls(), calls, "nobody was asked");
    assert!(site.get("/a").await.is_hit(), "strangers have theirs still");
}

/// The release before this one had it, or another service with the same pages.
#[tokio::test]
async fn a_lifetime_that_another_process_gave_is_for_strangers_only_too() {
    let store = FaultyRemote::new();
    let site = async |settings: fn(HttpCacheBuilder) -> HttpCacheBuilder| {
        let cache = Cache::builder("shop").remote(store.another_node());
        let bare = |_, _| -> Answering { Box::pin(async { Ok(Response::new(Body::from("x"))) }) };
        Site::with(cache, settings, bare).await
    };
    let before = site(|pages| pages.time_to_live(seconds(300))).await;
    let now = site(|pages| pages).await;
    before.get("/a").await;
    let deadline = Instant::now() + DEADLINE;
    let sparing = [("cache-control", "only-if-cached")];
    while now.get_with("/a", &sparing).await.status != 200 {
        assert!(Instant::now() < deadline, "it never comes");
    }
    let known = now.get_with("/a", &[("cookie", "session=1")]).await;
    assert!(known.did().ends_with("detail=cookie"), "{}", known.did());
}

#[tokio::test]
async fn a_page_with_a_lifetime_of_its_own_is_for_users_with_cookies_too() {
    for says in ["max-age=60", "s-maxage=60"] {
        let (site, _clock) = Site::timed(
            |pages| pages.time_to_live(seconds(5)),
            move |_, _| page(says, "x"),
        )
        .await;
        site.get("/a").await;
        assert!(
            site.get_with("/a", &[("cookie", "session=1")])
                .await
                .is_hit(),
            "{says}"
        );
    }
}
