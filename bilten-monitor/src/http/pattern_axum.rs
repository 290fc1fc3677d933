use axum::extract::MatchedPath;
use http::Extensions;

/// The route pattern that the router left in the request.
pub(super) fn matched(extensions: &Extensions) -> Option<&str> {
    extensions.get::<MatchedPath>().map(MatchedPath::as_str)
}
