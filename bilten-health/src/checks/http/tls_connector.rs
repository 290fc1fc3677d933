//! Connections with and without TLS.

use crate::checks::tls::versions;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

pub(super) type Connector = HttpsConnector<HttpConnector>;

pub(super) const SCHEMES: &[&str] = &["http", "https"];

/// Trusts what the system trusts, so that the certificates of a company's own authority count.
pub(super) fn connector() -> Connector {
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
pub(super) fn trusting(roots: RootCertStore) -> Connector {
    let config = versions(ClientConfig::builder_with_provider(Arc::new(
        default_provider(),
    )));
    let config = config.with_root_certificates(roots).with_no_client_auth();
    HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_or_http()
        .enable_http1()
        .build()
}
