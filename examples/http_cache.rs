//! Whole responses kept by their `Cache-Control`: a miss, a hit, 304, a variant, and a change that takes the page out.

#![allow(clippy::print_stdout)]

use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, Request};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use bilten_cache::Cache;
use bilten_cache::http::CacheTags;
use tower::ServiceExt;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let cache = Cache::builder("shop").build().await?; // add .redis("redis://127.0.0.1") and all processes share the pages
    let app = Router::new()
        .route("/events", get(list).post(async || "created"))
        .layer(cache.http().build()?);

    ask(&app, "GET", &[]).await?; // asks the handler
    ask(&app, "GET", &[]).await?; // does not
    ask(&app, "GET", &[(IF_NONE_MATCH, "\"v1\"")]).await?; // has it already
    ask(&app, "GET", &[(ACCEPT_LANGUAGE, "de")]).await?; // another variant
    ask(&app, "POST", &[]).await?; // takes out both
    ask(&app, "GET", &[]).await?;
    println!("{:?}", cache.invalidate_tag("events").await);
    ask(&app, "GET", &[]).await
}

/// A handler says how long its answer is good, and for whom.
async fn list(headers: HeaderMap) -> impl IntoResponse {
    let german = headers
        .get(ACCEPT_LANGUAGE)
        .is_some_and(|language| language == "de");
    (
        [
            (CACHE_CONTROL, "max-age=60, stale-while-revalidate=30"),
            (VARY, "accept-language"),
            (ETAG, "\"v1\""),
        ],
        Extension(CacheTags::new(["events"])),
        if german { "Veranstaltungen" } else { "events" },
    )
}

async fn ask(app: &Router, method: &str, headers: &[(HeaderName, &str)]) -> Result<(), Failure> {
    let mut request = Request::builder().method(method).uri("/events");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = app.clone().oneshot(request.body(Body::empty())?).await?;
    let status = response.status().as_u16();
    let did = response.headers()["cache-status"].to_str()?.to_owned();
    let body = to_bytes(response.into_body(), 1 << 10).await?;
    println!(
        "{method} {status} {:15} {did}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}
