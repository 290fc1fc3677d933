//! The HTTP side of events: paths, headers, statuses.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::links::links;
use super::purchase_key::purchase_key;
use super::request::{EventBody, ListParams, PurchaseBody};
use super::service::Events;
use crate::answer::{Asked, private, shared};
use crate::body::Body;
use crate::error::Error;

/// Everything under `/api/v1/events`.
pub fn routes() -> Router<Events> {
    Router::new()
        .route("/api/v1/events", get(list).post(create))
        .route("/api/v1/events/{id}", get(detail).patch(change))
        .route("/api/v1/events/{id}/summary", get(summary))
        .route("/api/v1/events/{id}/tickets", get(held).post(buy))
}

async fn list(
    State(events): State<Events>,
    asked: Asked,
    Params(params): Params,
) -> Result<Response, Error> {
    let request = params.check()?;
    let list = events.list(&request).await?;
    let mut response = shared(&asked, list.by, &*list.value)?;
    if let Some(links) = links(&request, &list.value.pagination) {
        let links = HeaderValue::from_str(&links).map_err(|error| Error::Backend(error.into()))?;
        response.headers_mut().insert(header::LINK, links);
    }
    Ok(response)
}

async fn detail(State(events): State<Events>, asked: Asked, Id(id): Id) -> Result<Response, Error> {
    let detail = events.detail(id).await?;
    shared(&asked, detail.by, &*detail.value)
}

async fn summary(
    State(events): State<Events>,
    asked: Asked,
    Id(id): Id,
) -> Result<Response, Error> {
    let summary = events.summary(id).await?;
    shared(&asked, summary.by, &*summary.value)
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
    headers: HeaderMap,
    Body(body): Body<PurchaseBody>,
) -> Result<Response, Error> {
    let key = purchase_key(&headers)?;
    let (receipt, token) = events.buy(id, body.check()?, key).await?;
    let mut response = (StatusCode::CREATED, private(&receipt)).into_response();
    let headers = response.headers_mut();
    if receipt.again {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(token) = token.and_then(|token| HeaderValue::from_str(&token.to_string()).ok()) {
        headers.insert(READ_AFTER, token);
    }
    Ok(response)
}

/// What the buyer holds; with the `Read-After` that came with the receipt, surely with what that one bought.
async fn held(
    State(events): State<Events>,
    Id(id): Id,
    headers: HeaderMap,
    query: Result<Query<BuyerParams>, QueryRejection>,
) -> Result<Response, Error> {
    let wrong = |_| Error::invalid("userId", "say whose tickets: ?userId=7, and nothing else");
    let Query(BuyerParams { user_id }) = query.map_err(wrong)?;
    // A token of another cluster or of before a fail-over reads from the primary; one that is none is as good as absent.
    let token = headers.get(READ_AFTER).and_then(|text| text.to_str().ok());
    let token = token.and_then(|text| text.parse().ok());
    Ok(private(&events.held(id, user_id, token).await?))
}

/// The query string of [`held`].
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BuyerParams {
    user_id: i64,
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

const READ_AFTER: HeaderName = HeaderName::from_static("read-after");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
