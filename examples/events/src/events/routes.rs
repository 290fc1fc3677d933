//! The HTTP side of events: paths, headers, statuses.

use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::request::{EventBody, ListParams, PurchaseBody};
use super::service::{Answered, Events};
use crate::body::Body;
use crate::error::Error;

/// Everything under `/api/v1/events`.
pub fn routes() -> Router<Events> {
    Router::new()
        .route("/api/v1/events", get(list).post(create))
        .route("/api/v1/events/{id}", get(detail).patch(change))
        .route("/api/v1/events/{id}/summary", get(summary))
        .route("/api/v1/events/{id}/tickets", post(buy))
}

async fn list(State(events): State<Events>, Params(params): Params) -> Result<Response, Error> {
    let request = params.check()?;
    let begun = Instant::now();
    Ok(shared(&events.list(&request).await?, begun))
}

async fn detail(State(events): State<Events>, Id(id): Id) -> Result<Response, Error> {
    let begun = Instant::now();
    Ok(shared(&events.detail(id).await?, begun))
}

async fn summary(State(events): State<Events>, Id(id): Id) -> Result<Response, Error> {
    let begun = Instant::now();
    Ok(shared(&events.summary(id).await?, begun))
}

async fn create(
    State(events): State<Events>,
    Body(body): Body<EventBody>,
) -> Result<Response, Error> {
    let detail = events.create(body.into_new()?).await?;
    let location = format!("/api/v1/events/{}", detail.event.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        private(&*detail),
    )
        .into_response())
}

async fn change(
    State(events): State<Events>,
    Id(id): Id,
    Body(body): Body<EventBody>,
) -> Result<Response, Error> {
    Ok(private(&events.change(id, body.into_change()?).await?))
}

async fn buy(
    State(events): State<Events>,
    Id(id): Id,
    Body(body): Body<PurchaseBody>,
) -> Result<Response, Error> {
    let receipt = events.buy(id, body.check()?).await?;
    Ok((StatusCode::CREATED, private(&receipt)).into_response())
}

/// An answer that browsers and proxies may keep, with where it came from and how long that took.
fn shared<T: Serialize>(answered: &Answered<T>, begun: Instant) -> Response {
    let millis = begun.elapsed().as_secs_f64() * 1_000.0;
    let timing = format!("cache;desc={};dur={millis:.3}", answered.by);
    let timing = HeaderValue::from_str(&timing).unwrap_or(HeaderValue::from_static("cache"));
    let headers = [
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300, stale-while-revalidate=60"),
        ),
        (X_CACHE, HeaderValue::from_static(answered.by)),
        (SERVER_TIMING, timing),
    ];
    (headers, Json(&*answered.value)).into_response()
}

/// An answer for the one who asked.
fn private<T: Serialize>(value: &T) -> Response {
    (
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(value),
    )
        .into_response()
}

/// The id in the path.
struct Id(i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(
                "id",
                "the id in the path is a whole number, such as /api/v1/events/42",
            )
        };
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| wrong())?;
        text.parse().map(Self).map_err(|_| wrong())
    }
}

/// The query string of the list.
struct Params(ListParams);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) =
            query.map_err(|rejection| Error::invalid("query", rejection.body_text()))?;
        ListParams::of(pairs).map(Self)
    }
}

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
