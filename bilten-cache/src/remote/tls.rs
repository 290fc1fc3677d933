use std::fmt;

/// Whom to trust with TLS, and who we are; both in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Tls {
    /// Instead of the system's authorities.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) identity: Option<Identity>,
}

/// Our own certificates, ours first, and the key to it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificates: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("authority", &self.authority.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

#[cfg(any(feature = "fred-tls", feature = "redis-tls"))]
mod rustls_config {
    use std::sync::Arc;

    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, RootCertStore};

    use super::{Identity, Tls};
    use crate::error::Error;

    const PEM: &str = "give the text of a PEM file, which has `-----BEGIN CERTIFICATE-----` in it";
    const KEY: &str = "give the certificate's own private key, unencrypted, in PEM";

    impl Tls {
        /// What rustls needs to know.
        ///
        /// # Errors
        ///
        /// When a PEM text is not one, or a key is not that of its certificate.
        pub(in crate::remote) fn client_config(&self) -> Result<ClientConfig, Error> {
            let provider = CryptoProvider::get_default()
                .cloned()
                .unwrap_or_else(|| Arc::new(ring::default_provider()));
            let versions = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| {
                    Error::config(
                        "redis.url",
                        error.to_string(),
                        "use a TLS provider with TLS 1.2 or 1.3",
                    )
                })?;
            let trusting = versions.with_root_certificates(self.roots()?);
            let Some(Identity { certificates, key }) = &self.identity else {
                return Ok(trusting.with_no_client_auth());
            };
            let wrong = |problem: String| Error::config("redis.identity", problem, KEY);
            let chain = chain("redis.identity", certificates)?;
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| wrong("the key is no private key in PEM".to_owned()))?;
            trusting
                .with_client_auth_cert(chain, key)
                .map_err(|error| wrong(error.to_string()))
        }

        fn roots(&self) -> Result<RootCertStore, Error> {
            let mut roots = RootCertStore::empty();
            let Some(authority) = &self.authority else {
                // What of the system's store cannot be read does not sign anything here; without any, each server is refused.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                return Ok(roots);
            };
            for certificate in chain("redis.authority", authority)? {
                roots
                    .add(certificate)
                    .map_err(|error| Error::config("redis.authority", error.to_string(), PEM))?;
            }
            Ok(roots)
        }
    }

    fn chain(field: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(Error::config(field, "it has no certificate", PEM)),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_no_certificate_is_an_error_that_names_the_setting() {
            let authority = Some(b"hello".to_vec());
            let tls = Tls {
                authority,
                ..Tls::default()
            };
            let message = tls.client_config().unwrap_err().to_string();
            assert!(
                message.starts_with("redis.authority: it has no certificate"),
                "{message}"
            );
            let identity = Some(Identity {
                certificates: Vec::new(),
                key: b"secret".to_vec(),
            });
            let tls = Tls {
                identity,
                ..Tls::default()
            };
            let message = tls.client_config().unwrap_err().to_string();
            assert!(
                message.starts_with("redis.identity") && !message.contains("secret"),
                "{message}"
            );
            assert!(!format!("{tls:?}").contains("secret"));
        }
    }
}
