//! What a request asks of a cache. Pure.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::directives::{RequestDirectives, split};
use super::policy::date;
use super::status::Forward;

/// How a request is treated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes by, for this reason.
    Forward(Forward, Option<&'static str>),
    /// It may change what it names.
    Change,
    Read(Asked),
}

/// A request that a stored response may answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Only the headers are wanted.
    pub(super) head: bool,
    pub(super) directives: RequestDirectives,
    if_none_match: Vec<HeaderValue>,
    if_modified_since: Option<HeaderValue>,
}

impl Kind {
    /// `authorized`: whether requests with credentials take part. `obey`: whether `Cache-Control` of requests counts.
    pub(super) fn of(method: &Method, headers: &HeaderMap, authorized: bool, obey: bool) -> Self {
        let has = |name| headers.contains_key(name);
        match *method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS | Method::TRACE | Method::CONNECT => {
                return Self::Forward(Forward::Method, None);
            }
            _ => return Self::Change,
        }
        // A part of a resource, or an answer that is an error when the client is behind.
        if has(RANGE) || has(IF_RANGE) || has(IF_MATCH) || has(IF_UNMODIFIED_SINCE) {
            return Self::Forward(Forward::Partial, None);
        }
        if has(AUTHORIZATION) && !authorized {
            return Self::Forward(Forward::Bypass, Some("authorization"));
        }
        let no_body = headers
            .get(CONTENT_LENGTH)
            .is_none_or(|length| length == "0");
        if has(UPGRADE) || has(TRANSFER_ENCODING) || !no_body {
            return Self::Forward(Forward::Bypass, Some("body-or-upgrade"));
        }
        let directives = match obey {
            true => RequestDirectives::of(headers),
            false => RequestDirectives::default(),
        };
        if directives.no_store {
            return Self::Forward(Forward::Request, Some("no-store"));
        }
        Self::Read(Asked {
            head: *method == Method::HEAD,
            directives,
            if_none_match: headers.get_all(IF_NONE_MATCH).iter().cloned().collect(),
            if_modified_since: headers.get(IF_MODIFIED_SINCE).cloned(),
        })
    }
}

impl Asked {
    /// Whether the client has this response already: then 304 will do.
    pub(super) fn has_already(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        if !status.is_success() {
            return false;
        }
        if !self.if_none_match.is_empty() {
            let etag = headers.get(ETAG).and_then(|etag| etag.to_str().ok());
            let lines = self
                .if_none_match
                .iter()
                .filter_map(|line| line.to_str().ok());
            return lines.flat_map(split).any(|theirs| {
                theirs == "*" || etag.is_some_and(|ours| opaque(theirs) == opaque(ours))
            });
        }
        let theirs = self
            .if_modified_since
            .as_ref()
            .and_then(|since| since.to_str().ok());
        let theirs = theirs.and_then(|since| httpdate::parse_http_date(since).ok());
        let ours = date(headers, LAST_MODIFIED);
        ours.zip(theirs)
            .is_some_and(|(ours, theirs)| ours <= theirs)
    }
}

/// An entity tag for weak comparison, RFC 9110 8.8.3.2.
fn opaque(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn kind(method: &str, lines: &[(&str, &str)]) -> Kind {
        let mut request = Request::builder().method(method);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        Kind::of(&parts.method, &parts.headers, false, true)
    }

    fn has_already(request: &[(&str, &str)], response: &[(&'static str, &'static str)]) -> bool {
        let Kind::Read(asked) = kind("GET", request) else {
            panic!("not a read")
        };
        let headers: HeaderMap = response
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        asked.has_already(StatusCode::OK, &headers)
    }

    #[test]
    fn only_plain_reads_are_answered_from_the_store() {
        for (method, lines, expected) in [
            ("OPTIONS", &[][..], Kind::Forward(Forward::Method, None)),
            ("POST", &[], Kind::Change),
            ("PURGE", &[], Kind::Change),
            (
                "GET",
                &[("range", "bytes=0-1")],
                Kind::Forward(Forward::Partial, None),
            ),
            (
                "GET",
                &[("if-match", "\"a\"")],
                Kind::Forward(Forward::Partial, None),
            ),
            (
                "GET",
                &[("authorization", "x")],
                Kind::Forward(Forward::Bypass, Some("authorization")),
            ),
            (
                "GET",
                &[("content-length", "3")],
                Kind::Forward(Forward::Bypass, Some("body-or-upgrade")),
            ),
            (
                "GET",
                &[("upgrade", "websocket")],
                Kind::Forward(Forward::Bypass, Some("body-or-upgrade")),
            ),
            (
                "GET",
                &[("cache-control", "no-store")],
                Kind::Forward(Forward::Request, Some("no-store")),
            ),
        ] {
            assert_eq!(kind(method, lines), expected, "{method} {lines:?}");
        }
        assert!(
            matches!(kind("GET", &[("content-length", "0")]), Kind::Read(asked) if !asked.head)
        );
        assert!(matches!(kind("HEAD", &[]), Kind::Read(asked) if asked.head));
    }

    #[test]
    fn a_client_that_has_it_is_recognised() {
        let tag = [("etag", "W/\"a\"")];
        for (theirs, yes) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"x\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("\"x, \\\"a\\\"\"", false),
            ("", false),
            ("a", false),
        ] {
            assert_eq!(
                has_already(&[("if-none-match", theirs)], &tag),
                yes,
                "{theirs}"
            );
        }
        assert!(has_already(
            &[("if-none-match", "\"x\""), ("if-none-match", "\"a\"")],
            &tag
        ));
        let date = [("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
        for (theirs, yes) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", true),
            ("Sun, 06 Nov 1994 08:49:36 GMT", false),
            ("yesterday", false),
        ] {
            assert_eq!(
                has_already(&[("if-modified-since", theirs)], &date),
                yes,
                "{theirs}"
            );
        }
        // The entity tag decides when there are both.
        let both = [
            ("if-none-match", "\"b\""),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ];
        assert!(!has_already(&both, &date));
        let Kind::Read(asked) = kind("GET", &[("if-none-match", "*")]) else {
            panic!("not a read")
        };
        assert!(!asked.has_already(StatusCode::NOT_FOUND, &HeaderMap::new()));
    }
}
