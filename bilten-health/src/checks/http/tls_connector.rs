//! Connections with and without TLS.

use super::lookup::Lookup;
use crate::check::CheckContext;
use crate::checks::tls::versions;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

pub(super) type Connector = HttpsConnector<HttpConnector<Lookup>>;

/// What the connections of all runs of one check have in common.
pub(super) struct Connections(Arc<ClientConfig>);

pub(super) const SCHEMES: &[&str] = &["http", "https"];

/// Trusts what the system trusts, so that the certificates of a company's own authority count.
pub(super) fn connections() -> Connections {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "no root certificates were found on this system; every https check will be down"
        );
    }
    trusting(roots)
}

/// Trusts these authorities and no others.
pub(super) fn trusting(roots: RootCertStore) -> Connections {
    let config = versions(ClientConfig::builder_with_provider(Arc::new(
        default_provider(),
    )));
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Connections(Arc::new(config))
}

impl Connections {
    /// Makes the connections of one run, with TLS or without as the URL says.
    pub(super) fn of(&self, context: &CheckContext) -> Connector {
        let mut plain = HttpConnector::new_with_resolver(Lookup(context.clone()));
        plain.enforce_http(false);
        (plain, Arc::clone(&self.0)).into()
    }
}
