//! Which requests share a page, and what takes pages out.

use axum::body::Body;
use axum::http::{HeaderName, Request};
use bilten_cache::http::CacheTags;
use bilten_cache::{Cache, Error, Pattern};

use crate::site::{Site, page, request, seconds, status, tagged, with};

#[tokio::test]
async fn each_variant_has_its_page_and_a_change_takes_out_all() {
    let site = Site::of(|request, call| {
        let language = request
            .headers()
            .get("accept-language")
            .map_or("none", |it| it.to_str().unwrap())
            .to_owned();
        with(
            page("max-age=60", format!("{language} {call}")),
            "vary",
            "Accept-Language, Accept-Encoding",
        )
    })
    .await;
    let languages = ["de", "sl", "en"];
    for (call, language) in languages.into_iter().enumerate() {
        let seen = site.get_with("/a", &[("accept-language", language)]).await;
        assert_eq!(seen.body, format!("{language} {call}"));
        assert!(
            seen.did().contains(if call == 0 {
                "fwd=uri-miss"
            } else {
                "fwd=vary-miss"
            }),
            "{}",
            seen.did()
        );
    }
    for (call, language) in languages.into_iter().enumerate() {
        let seen = site.get_with("/a", &[("accept-language", language)]).await;
        assert_eq!(
            (
                seen.body,
                seen.headers["cache-status"]
                    .to_str()
                    .unwrap()
                    .contains("hit")
            ),
            (format!("{language} {call}"), true)
        );
    }
    site.send(request("POST", "/a", &[])).await;
    for language in languages {
        assert!(
            !site
                .get_with("/a", &[("accept-language", language)])
                .await
                .is_hit(),
            "{language}"
        );
    }
}

#[tokio::test]
async fn endless_variants_stay_within_their_places() {
    let (site, _clock) = Site::timed(
        |pages| pages.variants(4),
        |request, _| {
            let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
            with(page("max-age=60", agent), "vary", "user-agent")
        },
    )
    .await;
    let agent = |n: u32| n.to_string();
    for n in 0..50 {
        assert_eq!(
            site.get_with("/a", &[("user-agent", &agent(n))]).await.body,
            agent(n)
        );
    }
    let mut hits = 0;
    for n in (0..50).rev() {
        let seen = site.get_with("/a", &[("user-agent", &agent(n))]).await;
        assert_eq!(seen.body, agent(n), "nobody gets the page of another");
        hits += u32::from(seen.is_hit());
    }
    assert!(
        (1..=5).contains(&hits),
        "the first one and four places: {hits}"
    );
}

#[tokio::test]
async fn tags_and_patterns_take_pages_out() {
    let tag_header = HeaderName::from_static("cache-tag");
    let (site, _clock) = Site::timed(
        move |pages| pages.tag_header(tag_header),
        |request, call| {
            let page = page("max-age=60", format!("{call}"));
            match request.uri().path() {
                "/extension" => tagged(page, "hot"),
                "/header" => with(page, "cache-tag", "cold, hot"),
                _ => page,
            }
        },
    )
    .await;
    let paths = ["/extension", "/header", "/neither"];
    let get = |path| {
        let site = site.clone();
        async move { site.get_with(path, &[("host", "Shop.example")]).await }
    };
    for path in paths {
        let seen = get(path).await;
        assert!(!seen.headers.contains_key("cache-tag"));
    }
    let _ = site.cache.invalidate_tag("hot").await;
    for (path, hit) in paths.into_iter().zip([false, false, true]) {
        assert_eq!(get(path).await.is_hit(), hit, "{path}");
    }
    let _ = site
        .cache
        .invalidate_pattern(&Pattern::prefix("http://shop.example/head"))
        .await;
    for (path, hit) in paths.into_iter().zip([true, false, true]) {
        assert_eq!(get(path).await.is_hit(), hit, "{path}");
    }
}

#[tokio::test]
async fn a_page_with_too_many_tags_is_for_one_client() {
    let site = Site::of(|_, _| {
        let tags = CacheTags::new((0..65).map(|n| n.to_string()));
        let mut page = page("max-age=60", "x");
        page.extensions_mut().insert(tags);
        page
    })
    .await;
    site.get("/a").await;
    assert!(!site.get("/a").await.is_hit());
}

#[tokio::test]
async fn nobody_puts_a_parameter_of_his_own_into_what_all_see() {
    let (site, _clock) = Site::timed(
        |pages| pages.query_parameters(["page", "city"]),
        |request, _| {
            page(
                "max-age=60",
                request.uri().query().unwrap_or_default().to_owned(),
            )
        },
    )
    .await;
    let first = site.get("/a?utm=%3Cscript%3E&page=2&city=Celje").await;
    assert_eq!(first.body, "city=Celje&page=2");
    for n in 0..20 {
        assert!(
            site.get(&format!("/a?page=2&city=Celje&endless={n}"))
                .await
                .is_hit()
        );
    }
    assert_eq!(site.calls(), 1);
    assert!(!site.get("/a?page=3&city=Celje").await.is_hit());
}

#[tokio::test]
async fn hosts_have_pages_of_their_own_unless_told_otherwise() {
    for (by_host, same) in [(true, false), (false, true)] {
        let (site, _clock) = Site::timed(
            |pages| pages.by_host(by_host),
            |_, _| page("max-age=60", "x"),
        )
        .await;
        site.get_with("/a", &[("host", "one.example")]).await;
        assert_eq!(
            site.get_with("/a", &[("host", "two.example")])
                .await
                .is_hit(),
            same
        );
    }
}

/// Otherwise a stranger puts the page of one path in the place of another's.
#[tokio::test]
async fn a_host_that_goes_on_as_a_path_stores_nothing() {
    let site = Site::of(|request, _| page("max-age=60", request.uri().path().to_owned())).await;
    let crafted = site.get_with("/b", &[("host", "shop.example/a")]).await;
    assert_eq!(crafted.body, "/b");
    assert!(crafted.did().ends_with("detail=key"), "{}", crafted.did());
    let honest = site.get_with("/a/b", &[("host", "shop.example")]).await;
    assert_eq!(honest.body, "/a/b");
}

/// Otherwise one request in ten seconds switches the cache off for all.
#[tokio::test]
async fn a_request_with_too_much_in_its_fields_spoils_the_page_for_nobody_else() {
    let site = Site::of(|_, _| with(page("max-age=60", "x"), "vary", "accept-language")).await;
    let long = "y".repeat(60_000);
    let spoilt = site.get_with("/a", &[("accept-language", &long)]).await;
    assert!(spoilt.did().ends_with("detail=long-fields"));
    site.get("/a").await;
    assert!(site.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_key_of_ones_own_decides_who_shares_a_page() {
    let (site, _clock) = Site::timed(
        |pages| pages.key(|parts| Some(parts.headers.get("x-tenant")?.to_str().ok()?.to_owned())),
        |_, _| page("max-age=60", "x"),
    )
    .await;
    site.get_with("/a", &[("x-tenant", "1")]).await;
    assert!(site.get_with("/b", &[("x-tenant", "1")]).await.is_hit());
    assert!(!site.get_with("/a", &[("x-tenant", "2")]).await.is_hit());
    assert_eq!(
        site.get("/a").await.did(),
        "shop; fwd=bypass; fwd-status=200; detail=key"
    );
}

#[tokio::test]
async fn a_url_too_long_for_a_key_goes_by() {
    let site = Site::of(|_, _| page("max-age=60", "x")).await;
    let long = format!("/{}", "x".repeat(2_000));
    for _ in 0..2 {
        assert!(site.get(&long).await.did().contains("fwd=bypass"));
    }
    assert_eq!(site.calls(), 2);
}

#[tokio::test]
async fn a_change_that_succeeds_takes_out_its_page_and_the_ones_it_names() {
    let site = Site::of(
        |request, call| match (request.method().as_str(), request.uri().path()) {
            ("GET", _) => page("max-age=60", format!("{call}")),
            (_, "/refused") => status(409),
            _ => with(status(303), "location", "/events/7"),
        },
    )
    .await;
    for (change, path, hit) in [
        ("/refused", "/refused", true),
        ("/events", "/events", false),
        ("/events", "/events/7", false),
        ("/events", "/events/8", true),
    ] {
        site.get(path).await;
        site.send(request("POST", change, &[])).await;
        assert_eq!(
            site.get(path).await.is_hit(),
            hit,
            "POST {change}, GET {path}"
        );
    }
}

#[tokio::test]
async fn each_senseless_setting_of_the_layer_is_named() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let field = |result: Result<_, Error>| {
        let error: Error = result
            .map(|_: bilten_cache::http::HttpCache| ())
            .unwrap_err();
        error.to_string().split(':').next().unwrap().to_owned()
    };
    let zero = seconds(0);
    assert_eq!(
        field(cache.http().time_to_live(zero).build()),
        "time_to_live"
    );
    assert_eq!(
        field(cache.http().longest_life(zero).build()),
        "longest_life"
    );
    assert_eq!(
        field(cache.http().load_timeout(zero).build()),
        "load_timeout"
    );
    assert_eq!(field(cache.http().variants(0).build()), "variants");
    assert_eq!(
        field(cache.http().max_body_bytes(2 << 30).build()),
        "max_body_bytes"
    );
    assert_eq!(
        field(cache.http().max_body_bytes(0).build()),
        "max_body_bytes"
    );
    let beyond = cache.http().time_to_live(seconds(3));
    assert_eq!(
        field(beyond.longest_life(seconds(2)).build()),
        "time_to_live"
    );
    assert_eq!(field(cache.http().region("a b").build()), "region");
    cache.http().build().unwrap();
    assert_eq!(
        field(cache.http().load_timeout(seconds(1)).build()),
        "region name"
    );
}

#[tokio::test]
async fn hostile_headers_are_answered_like_any_other() {
    let site = Site::of(|_, _| with(page("max-age=60", "x"), "vary", "x-long")).await;
    let long = "y".repeat(60_000);
    for headers in [
        &[("x-long", long.as_str())][..],
        &[("cache-control", "max-age=99999999999999999999999, ,,==,\"")],
        &[("if-none-match", ",\"\\"), ("if-modified-since", "never")],
        &[("host", "a/../b?c#d")],
    ] {
        for _ in 0..2 {
            let seen = site.send(build(headers)).await;
            assert_eq!(
                (seen.status.as_u16(), seen.body.as_str()),
                (200, "x"),
                "{:?}",
                headers[0].0
            );
        }
    }
}

fn build(headers: &[(&str, &str)]) -> Request<Body> {
    request("GET", "/a", headers)
}
