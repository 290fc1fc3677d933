//! From a stored page to a response. Pure.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::asked::Asked;
use super::page::Page;

/// Fields that belong to one connection, or to what one cache did once.
const NOT_KEPT: [HeaderName; 11] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("cache-status"),
    HeaderName::from_static("x-cache"),
];

/// What a 304 has of the response it stands for, RFC 9110 15.4.5.
const IN_NOT_MODIFIED: [HeaderName; 7] = [
    CACHE_CONTROL,
    CONTENT_LOCATION,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    VARY,
];

/// The headers of a response that are kept with it.
pub(super) fn kept(
    headers: &HeaderMap,
    tag_header: Option<&HeaderName>,
    now: SystemTime,
) -> HeaderMap {
    let mut kept = headers.clone();
    for line in headers.get_all(CONNECTION) {
        let names = line.to_str().unwrap_or_default().split(',');
        for name in names.filter_map(|name| HeaderName::try_from(name.trim()).ok()) {
            kept.remove(name);
        }
    }
    for name in NOT_KEPT.iter().chain(tag_header) {
        kept.remove(name);
    }
    // Both are told anew each time.
    kept.remove(AGE);
    kept.remove(CONTENT_LENGTH);
    if !kept.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now))
    {
        kept.insert(DATE, date);
    }
    kept
}

/// The headers after the origin has said 304 with these, RFC 9111 3.2.
pub(super) fn updated(page: &Page, news: &HeaderMap) -> HeaderMap {
    let mut headers = page.headers.clone();
    headers.remove(DATE);
    let of_the_body = [
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        CONTENT_TYPE,
        CONTENT_RANGE,
    ];
    for name in news.keys().filter(|name| !of_the_body.contains(name)) {
        headers.remove(name);
        for value in news.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// The answer to a request, from a page that is this many seconds old.
pub(super) fn respond(page: &Page, asked: &Asked, age: u64) -> Response<Bytes> {
    let (mut response, body) = if asked.has_already(page.status, &page.headers) {
        (not_modified(&page.headers), None)
    } else {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = page.status;
        *response.headers_mut() = page.headers.clone();
        (response, Some(&page.body))
    };
    response.headers_mut().insert(AGE, HeaderValue::from(age));
    match body {
        Some(body) if asked.head => {
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Some(body) => *response.body_mut() = body.clone(),
        None => {}
    }
    response
}

/// 304 for a client that has the response with these headers.
pub(super) fn not_modified(headers: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in IN_NOT_MODIFIED.iter().chain([&SET_COOKIE]) {
        for value in headers.get_all(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_is_not_kept() {
        let headers = map(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("cache-status", "inner; hit"),
            ("age", "7"),
            ("cache-tag", "a"),
            ("etag", "\"a\""),
        ]);
        let tag_header = HeaderName::from_static("cache-tag");
        let kept = kept(&headers, Some(&tag_header), SystemTime::UNIX_EPOCH);
        let expected = map(&[("etag", "\"a\""), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")]);
        assert_eq!(kept, expected);
    }
}
