//! What a request gets when it cannot be served: a status and a JSON problem (RFC 9457), never a panic.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter or a field of the body is not acceptable: which, and what to send instead.
    #[error("{field}: {reason}")]
    Invalid {
        /// As the client wrote it: `limit`, `startDate`.
        field: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The request as a whole cannot be read; the status says why.
    #[error("{reason}")]
    Unreadable {
        /// 400, 408, 413 or 415.
        status: StatusCode,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `event`, `organizer`.
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// Nothing lives under this path.
    #[error("nothing is here; the events are under /api/v1/events")]
    NoRoute,
    /// The path exists, the method does not.
    #[error("this path does not take that method; the Allow header lists those it takes")]
    Method,
    /// The request is fine, but the world is not: sold out, over the limit.
    #[error("{0}")]
    Conflict(String),
    /// The key of an earlier purchase, with another purchase.
    #[error("this Idempotency-Key was used for another purchase; take a new key for a new one")]
    KeyReused,
    /// It took longer than the service is willing to wait.
    #[error("the service is too busy to answer in time; try again in a few seconds")]
    TooSlow,
    /// The database or the cache failed; the cause goes to the log and never to the client.
    #[error("the service cannot answer this at the moment; try again in a few seconds")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A field with what is wrong about it.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// There is no `what` with this id.
    pub fn not_found(what: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound {
            what,
            id: id.to_string(),
        }
    }

    /// The HTTP status that says the same.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid { .. } => StatusCode::BAD_REQUEST,
            Self::Unreadable { status, .. } => *status,
            Self::NotFound { .. } | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooSlow | Self::Backend(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<sea_orm::DbErr> for Error {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl From<bilten_db::Error> for Error {
    fn from(error: bilten_db::Error) -> Self {
        Self::Backend(Box::new(error))
    }
}

impl From<bilten_cache::Error> for Error {
    /// What the loader or the writer said, if it was one of them; the cache keeps it for all who waited.
    fn from(error: bilten_cache::Error) -> Self {
        match error.source_as::<Self>() {
            Some(Self::Invalid { field, reason }) => Self::invalid(field, reason),
            Some(Self::NotFound { what, id }) => Self::not_found(what, id),
            Some(Self::Conflict(reason)) => Self::Conflict(reason.clone()),
            _ => Self::Backend(Box::new(error)),
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Backend(cause) = &self {
            tracing::error!(error = %chain(cause.as_ref()), "a request could not be served");
        }
        let status = self.status();
        let field = match &self {
            Self::Invalid { field, .. } => Some(field.as_str()),
            _ => None,
        };
        let title = status.canonical_reason().unwrap_or("error");
        let problem = Problem {
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            field,
        };
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        (status, headers, Json(problem)).into_response()
    }
}

/// The error and every cause beneath it, in one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Error, chain};
    use axum::response::IntoResponse;
    use http::StatusCode;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_problem_names_the_field() {
        let response = Error::invalid("limit", "0 is not between 1 and 100").into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["field"], "limit");
        assert_eq!(body["detail"], "limit: 0 is not between 1 and 100");
    }

    #[test]
    fn a_backend_failure_keeps_its_cause_out_of_the_answer() {
        let error = Error::from(sea_orm::DbErr::Custom("password=hunter2".into()));
        assert!(!error.to_string().contains("hunter2"));
        assert!(chain(&error).contains("hunter2"));
    }
}
