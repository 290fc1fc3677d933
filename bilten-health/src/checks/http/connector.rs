//! Connections without TLS.

use super::lookup::Lookup;
use crate::check::CheckContext;
use hyper_util::client::legacy::connect::HttpConnector;

pub(super) type Connector = HttpConnector<Lookup>;

/// What the connections of all runs of one check have in common.
pub(super) struct Connections;

pub(super) const SCHEMES: &[&str] = &["http"];

pub(super) const fn connections() -> Connections {
    Connections
}

impl Connections {
    /// Makes the connections of one run.
    pub(super) fn of(&self, context: &CheckContext) -> Connector {
        HttpConnector::new_with_resolver(Lookup(context.clone()))
    }
}
