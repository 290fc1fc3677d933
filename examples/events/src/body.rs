//! Reads a JSON body within limits and names the field that does not fit.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

/// Like [`axum::Json`], with our problems instead of its plain text.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        // Before the first look at the body: that look is what sends `100 Continue`.
        if announced(&request).is_some_and(|length| length > LARGEST as u64) {
            return Err(too_large());
        }
        let Json(value) = tokio::time::timeout(WITHIN, Json::<Value>::from_request(request, state))
            .await
            .map_err(|_| too_slow())?
            .map_err(|rejection| unreadable(&rejection))?;
        Ok(Self(fields(value)?))
    }
}

/// The largest body, in bytes: every field at its longest, with every character escaped.
pub const LARGEST: usize = 64 << 10;

/// How long a body may take to arrive.
const WITHIN: Duration = Duration::from_secs(10);

fn announced(request: &Request) -> Option<u64> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

fn too_large() -> Error {
    Error::Unreadable {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        reason: format!("the body is larger than {LARGEST} bytes; no event needs that much"),
    }
}

fn too_slow() -> Error {
    Error::Unreadable {
        status: StatusCode::REQUEST_TIMEOUT,
        reason: format!(
            "the body did not arrive within {} s; send the request again",
            WITHIN.as_secs()
        ),
    }
}

fn unreadable(rejection: &JsonRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    let reason = match rejection {
        JsonRejection::MissingJsonContentType(_) => {
            "send JSON with the header content-type: application/json".into()
        }
        JsonRejection::JsonSyntaxError(_) => format!("the body is not JSON: {}", cause(rejection)),
        _ => rejection.body_text(),
    };
    Error::Unreadable {
        status: rejection.status(),
        reason,
    }
}

/// The innermost message: serde's own, with line and column.
fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}

/// The value's fields as `T`.
fn fields<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    let Value::Object(sent) = &value else {
        return Err(Error::invalid(
            "body",
            "must be a JSON object, such as {\"title\": \"…\"}",
        ));
    };
    // No field can be emptied; taken for one that was not sent, a null would be dropped without a word.
    if let Some((field, _)) = sent.iter().find(|(_, value)| value.is_null()) {
        return Err(Error::invalid(
            field.as_str(),
            "is null; leave the field out, or send a value",
        ));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let reason = error.inner().to_string();
        let path = error.path().to_string();
        let field = if path == "." {
            quoted(&reason).unwrap_or("body").to_owned()
        } else {
            path
        };
        Error::invalid(field, reason)
    })
}

/// The name that serde puts between backticks first: ``unknown field `titel` ``.
fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

#[cfg(test)]
mod tests {
    use super::{Body, fields};
    use crate::error::Error;
    use crate::events::request::EventBody;
    use axum::body::Bytes;
    use axum::extract::{FromRequest, Request};
    use futures_util::stream::pending;
    use http::{StatusCode, header};
    use serde_json::json;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let stalled = pending::<std::io::Result<Bytes>>();
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .body(axum::body::Body::from_stream(stalled))
            .unwrap();
        match Body::<EventBody>::from_request(request, &()).await {
            Err(Error::Unreadable { status, .. }) => {
                assert_eq!(status, StatusCode::REQUEST_TIMEOUT)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        for (body, wrong) in [
            (json!({ "title": 7 }), "title"),
            (json!({ "status": "on" }), "status"),
            (json!({ "capacity": 1e12 }), "capacity"),
            (json!({ "titel": "x" }), "titel"),
            (json!({ "description": "x", "title": null }), "title"),
            (json!(["title"]), "body"),
        ] {
            match fields::<EventBody>(body.clone()) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, wrong, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
