//! Connections without TLS.

use hyper_util::client::legacy::connect::HttpConnector;

pub(super) type Connector = HttpConnector;

pub(super) const SCHEMES: &[&str] = &["http"];

pub(super) fn connector() -> Connector {
    HttpConnector::new()
}
