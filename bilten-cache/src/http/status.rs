//! The headers that say what the cache did: `Cache-Status` (RFC 9211) and `X-Cache`. Pure.

use std::fmt::Write;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Why a request went on to the origin, in the words of RFC 9211.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forward {
    /// The cache takes no part in such requests.
    Bypass,
    Method,
    UriMiss,
    VaryMiss,
    Stale,
    /// The request asked for it.
    Request,
    Partial,
}

impl Forward {
    fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Partial => "partial",
        }
    }
}

/// What the cache did for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Did {
    pub(super) forward: Option<Forward>,
    pub(super) origin: Option<StatusCode>,
    /// Seconds of freshness left; negative when it is stale.
    pub(super) left: Option<i64>,
    pub(super) stored: bool,
    pub(super) collapsed: bool,
    pub(super) detail: Option<&'static str>,
}

impl Did {
    pub(super) fn hit(left: i64) -> Self {
        Self {
            left: Some(left),
            ..Self::default()
        }
    }

    pub(super) fn forwarded(why: Forward) -> Self {
        Self {
            forward: Some(why),
            ..Self::default()
        }
    }

    pub(super) fn detail(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }

    fn x_cache(&self) -> &'static str {
        match (self.forward, self.left) {
            (None, Some(left)) if left <= 0 => "STALE",
            (None, _) => "HIT",
            (Some(Forward::Bypass | Forward::Method | Forward::Partial), _) => "BYPASS",
            (Some(_), _) if self.origin == Some(StatusCode::NOT_MODIFIED) => "REVALIDATED",
            (Some(_), _) => "MISS",
        }
    }

    /// The member for the list in `Cache-Status`.
    fn member(&self, cache: &str) -> String {
        let mut text = name(cache);
        match self.forward {
            None => text.push_str("; hit"),
            Some(why) => text.push_str(&format!("; fwd={}", why.word())),
        }
        if let Some(status) = self.origin {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if let Some(left) = self.left {
            let _ = write!(text, "; ttl={left}");
        }
        for (yes, word) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            text.push_str(if yes { word } else { "" });
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        text
    }

    /// Adds it to a response's headers, behind what caches further in have said.
    pub(super) fn write(&self, headers: &mut HeaderMap, cache: &str, report: Report) {
        if report.cache_status
            && let Ok(value) = HeaderValue::from_str(&self.member(cache))
        {
            headers.append(CACHE_STATUS, value);
        }
        if report.x_cache {
            headers.insert(X_CACHE, HeaderValue::from_static(self.x_cache()));
        }
    }
}

/// Which of the headers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) cache_status: bool,
    pub(crate) x_cache: bool,
}

/// A cache's name as a token if it is one. Names have letters, digits and `_ - .` only.
fn name(cache: &str) -> String {
    match cache.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => cache.to_owned(),
        false => format!("\"{cache}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_told_in_the_words_of_the_rfc() {
        let missed = Did {
            origin: Some(StatusCode::OK),
            stored: true,
            collapsed: true,
            ..Did::forwarded(Forward::UriMiss)
        };
        for (did, member, x_cache) in [
            (Did::hit(30), "shop; hit; ttl=30", "HIT"),
            (
                Did::hit(-3).detail("stale-if-error"),
                "shop; hit; ttl=-3; detail=stale-if-error",
                "STALE",
            ),
            (
                missed,
                "shop; fwd=uri-miss; fwd-status=200; stored; collapsed",
                "MISS",
            ),
            (
                Did::forwarded(Forward::Method),
                "shop; fwd=method",
                "BYPASS",
            ),
            (
                Did {
                    origin: Some(StatusCode::NOT_MODIFIED),
                    ..Did::forwarded(Forward::Stale)
                },
                "shop; fwd=stale; fwd-status=304",
                "REVALIDATED",
            ),
        ] {
            assert_eq!(did.member("shop"), member);
            assert_eq!(did.x_cache(), x_cache, "{member}");
        }
        assert_eq!(Did::hit(1).member("1-shop"), "\"1-shop\"; hit; ttl=1");
    }

    #[test]
    fn what_other_caches_said_is_kept() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("inner; hit"));
        Did::hit(1).write(
            &mut headers,
            "shop",
            Report {
                cache_status: true,
                x_cache: false,
            },
        );
        let all: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(all, ["inner; hit", "shop; hit; ttl=1"]);
        assert!(!headers.contains_key(X_CACHE));
    }
}
