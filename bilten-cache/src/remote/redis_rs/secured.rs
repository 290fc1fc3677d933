//! TLS in the form of redis-rs. Without the feature there is none, and a URL that asks for it was refused before.

use redis::cluster::ClusterClientBuilder;
use redis::sentinel::SentinelClientBuilder;
use redis::{Client, ConnectionAddr, IntoConnectionInfo, RedisResult};
#[cfg(feature = "redis-tls")]
use redis::{ClientTlsConfig, TlsCertificates, TlsMode};

use crate::remote::address::Address;

/// How the connections of one address are secured.
#[derive(Clone, Default)]
pub(super) struct Secured {
    #[cfg(feature = "redis-tls")]
    certificates: Option<TlsCertificates>,
}

#[cfg(not(feature = "redis-tls"))]
impl Secured {
    pub(super) fn of(_: &Address) -> Self {
        Self::default()
    }

    pub(super) fn client(&self, place: ConnectionAddr) -> RedisResult<Client> {
        Client::open(place.into_connection_info()?)
    }

    pub(super) fn cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        builder
    }

    pub(super) fn sentinels(&self, builder: SentinelClientBuilder) -> SentinelClientBuilder {
        builder
    }
}

#[cfg(feature = "redis-tls")]
impl Secured {
    pub(super) fn of(address: &Address) -> Self {
        let certificates = address.tls.as_ref().map(|tls| TlsCertificates {
            client_tls: tls.identity.as_ref().map(|identity| ClientTlsConfig {
                client_cert: identity.certificates.clone(),
                client_key: identity.key.clone(),
            }),
            root_cert: tls.authority.clone(),
        });
        if certificates.is_some() {
            // redis-rs takes the provider of the process, and panics where two are compiled in and none was chosen.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Self { certificates }
    }

    pub(super) fn client(&self, place: ConnectionAddr) -> RedisResult<Client> {
        let info = place.into_connection_info()?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    pub(super) fn cluster(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        match &self.certificates {
            Some(certificates) => builder.certs(certificates.clone()),
            None => builder,
        }
    }

    pub(super) fn sentinels(&self, builder: SentinelClientBuilder) -> SentinelClientBuilder {
        match &self.certificates {
            Some(certificates) => builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates.clone()),
            None => builder,
        }
    }
}
