//! How answers are kept: by everybody for a while, or by nobody.

use std::convert::Infallible;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::error::Error;

/// When the request came, and which answers its client has already.
#[derive(Debug)]
pub struct Asked {
    at: Instant,
    has: Option<IfNoneMatch>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            at: Instant::now(),
            has: parts.headers.typed_get(),
        })
    }
}

/// An answer that browsers and proxies may keep for five minutes, with where it came from and how long that took. A
/// client that has it already gets 304 and no body.
///
/// # Errors
/// When the value is none in JSON.
pub fn shared<T: Serialize>(asked: &Asked, by: &'static str, value: &T) -> Result<Response, Error> {
    let body = serde_json::to_vec(value).map_err(|error| Error::Backend(Box::new(error)))?;
    let tag = tag(&body);
    let known = asked
        .has
        .as_ref()
        .is_some_and(|has| !has.precondition_passes(&tag));
    let millis = asked.at.elapsed().as_secs_f64() * 1_000.0;
    let timing = format!("cache;desc={by};dur={millis:.3}");
    let timing = HeaderValue::from_str(&timing).unwrap_or(HeaderValue::from_static("cache"));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let json = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, json)], Body::from(body)).into_response()
    };
    let headers = response.headers_mut();
    headers.typed_insert(tag);
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static(FIVE_MINUTES),
    );
    headers.insert(X_CACHE, HeaderValue::from_static(by));
    headers.insert(SERVER_TIMING, timing);
    Ok(response)
}

/// An answer for the one who asked.
pub fn private<T: Serialize>(value: &T) -> Response {
    (
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(value),
    )
        .into_response()
}

/// The same for the same bytes, in every process and after every restart.
fn tag(body: &[u8]) -> ETag {
    let text = format!("\"{:016x}\"", rapidhash::v3::rapidhash_v3(body));
    text.parse()
        .expect("hexadecimal digits between quotes are an entity tag")
}

const FIVE_MINUTES: &str = "public, max-age=300, stale-while-revalidate=60";
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn a_tag_is_the_same_in_every_process() {
        assert_eq!(tag(b"{}"), "\"a4b7dc41c065ad1e\"".parse().unwrap());
        assert_ne!(tag(b"{}"), tag(b"{ }"));
    }
}
