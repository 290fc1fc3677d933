use std::convert::Infallible;
use std::fmt;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::layer::RequestSession;

impl<S: Sync> FromRequestParts<S> for RequestSession {
    type Rejection = NoSessionLayer;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NoSessionLayer> {
        parts.extensions.get().cloned().ok_or(NoSessionLayer)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for RequestSession {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

/// A handler asks for a [`RequestSession`], but its route has no [`SessionLayer`](super::SessionLayer). Answers 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoSessionLayer;

impl fmt::Display for NoSessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the route has no session: add SessionLayer with Router::layer, after the routes",
        )
    }
}

impl std::error::Error for NoSessionLayer {}

impl IntoResponse for NoSessionLayer {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
