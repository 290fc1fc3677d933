//! The page's own files, and the headers that keep everything else out.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

pub(super) const PAGE: &str = include_str!("assets/page.html");
pub(super) const STYLE: &str = include_str!("assets/page.css");
pub(super) const SCRIPT: &str = concat!(
    include_str!("assets/format.js"),
    include_str!("assets/chart.js"),
    include_str!("assets/panels.js"),
    include_str!("assets/page.js"),
);

/// Nothing from anywhere else, nothing inline, and no frame around it. The icon is a `data:` image.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of every answer.
pub(super) fn headers(content_type: &'static str) -> HeaderMap {
    let same_origin = HeaderName::from_static("cross-origin-resource-policy");
    [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (same_origin, "same-origin"),
    ]
    .into_iter()
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .collect()
}
