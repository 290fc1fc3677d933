//! Label names, and the values that stand for what has no value of its own.

use super::{Pair, pair, same};

pub(crate) const QUERY: Pair = pair("db.query.summary", "query");
pub(crate) const OUTCOME: Pair = pair("outcome", "status");
pub(crate) const ERROR: Pair = pair("error.type", "error");
pub(crate) const ROUTE: Pair = pair("http.route", "path");
pub(crate) const METHOD: Pair = pair("http.request.method", "method");
pub(crate) const STATUS: Pair = pair("http.response.status_code", "statusCode");
pub(crate) const SCHEME: Pair = pair("url.scheme", "scheme");
/// The HTTP outcome keeps its name: `status` would be read as the status code.
pub(crate) const HTTP_OUTCOME: Pair = same("outcome");
pub(crate) const KIND: Pair = same("kind");
pub(super) const CACHE: Pair = same("cache");
pub(super) const REGION: Pair = same("region");
pub(super) const LEVEL: Pair = same("level");
pub(super) const REASON: Pair = same("reason");
pub(super) const NODE: Pair = same("node");
pub(super) const STATE: Pair = same("state");
pub(super) const PLAIN_OUTCOME: Pair = same("outcome");
pub(super) const CHECK: Pair = same("check");

/// What overflows a bounded label is counted under this value.
pub(crate) const OTHER: &str = "other";
/// A query without a name.
pub(crate) const UNNAMED: &str = "unnamed";
