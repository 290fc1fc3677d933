//! Health endpoints that always answer in time, whatever their checks do.
//!
//! Asks itself a few questions and ends; a service would hand `app` to `axum::serve`.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::{Router, routing::get};
use bilten_health::{Health, check, checks};
use http_body_util::BodyExt;
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let db = sea_orm::Database::connect("sqlite::memory:").await?;
    let hangs = check("search", async || std::future::pending::<()>().await);
    let health = Health::builder()
        .check(checks::database("orders", &db).in_readiness())
        .check(check("mail", async || Err::<(), _>("no route to host")).non_critical())
        .check(hangs.non_critical().timeout(Duration::from_millis(200)))
        .build()?;

    // Without `details_for` nobody sees names and errors.
    let secret = "Bearer of-the-operators";
    let routes = health.routes().details_for(move |request| {
        request
            .headers
            .get("authorization")
            .is_some_and(|value| value == secret)
    });
    let app = Router::new()
        .route("/", get(async || "a shop"))
        .merge(routes);

    for path in ["/livez", "/readyz", "/healthz"] {
        ask(&app, path, "").await?;
    }
    ask(&app, "/healthz", secret).await?;
    health.begin_shutdown(); // at SIGTERM: the load balancer looks elsewhere while requests finish
    ask(&app, "/readyz", "").await?;
    ask(&app, "/livez", "").await
}

async fn ask(app: &Router, path: &str, who: &str) -> Result<(), Box<dyn std::error::Error>> {
    let request = Request::get(path)
        .header("authorization", who)
        .body(Body::empty())?;
    let response = app.clone().oneshot(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    println!("{path} {status}\n    {}", String::from_utf8_lossy(&body));
    Ok(())
}
