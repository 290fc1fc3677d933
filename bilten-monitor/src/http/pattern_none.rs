use http::Extensions;

/// Without a router that we know, routes come from [`HttpLayer::route`](super::HttpLayer::route) alone.
pub(super) const fn matched(_: &Extensions) -> Option<&str> {
    None
}
