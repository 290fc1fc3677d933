//! Reads a JSON body and names the field that does not fit.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

/// Like [`axum::Json`], with our problems instead of its plain text.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let Json(value) = Json::<Value>::from_request(request, state)
            .await
            .map_err(|rejection| unreadable(&rejection))?;
        Ok(Self(fields(value)?))
    }
}

fn unreadable(rejection: &JsonRejection) -> Error {
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
    if !value.is_object() {
        return Err(Error::invalid(
            "body",
            "must be a JSON object, such as {\"title\": \"…\"}",
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
    use super::fields;
    use crate::error::Error;
    use crate::events::request::EventBody;
    use serde_json::json;

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        for (body, wrong) in [
            (json!({ "title": 7 }), "title"),
            (json!({ "status": "on" }), "status"),
            (json!({ "capacity": 1e12 }), "capacity"),
            (json!({ "titel": "x" }), "titel"),
            (json!(["title"]), "body"),
        ] {
            match fields::<EventBody>(body.clone()) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, wrong, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
