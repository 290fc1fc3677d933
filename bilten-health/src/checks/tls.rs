//! How long a certificate still lasts.

use super::resolve::resolve;
use super::target::address_problem;
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, SignatureScheme, WantsVerifier,
    WantsVersions,
};
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Opens a TLS connection to `address` (`host:port`) and looks how long the server's certificate still lasts: degraded when that
/// is less than `warn_before`, down when it has run out.
///
/// Only the dates count. Whether the certificate is trusted is for [`checks::http`](crate::checks::http) to find out, because one
/// that is not trusted has dates, too.
///
/// ```
/// use bilten_health::{Health, checks};
/// use std::time::Duration;
///
/// let two_weeks = Duration::from_secs(14 * 24 * 3600);
/// let certificate = checks::tls("certificate", "shop.example:443", two_weeks).non_critical();
/// assert!(Health::builder().check(certificate.background(Duration::from_secs(3600))).build().is_ok());
/// ```
pub fn tls(
    name: impl Into<String>,
    address: impl Into<String>,
    warn_before: Duration,
) -> CheckBuilder {
    let address = address.into();
    let host = address
        .rsplit_once(':')
        .map_or("", |(host, _)| host)
        .trim_matches(['[', ']']);
    let server = ServerName::try_from(host.to_owned());
    let problem =
        address_problem(&address).or_else(|| server.is_err().then_some("has no valid host name"));
    let server = server.unwrap_or(ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()));
    let provider = Arc::new(ring::default_provider());
    let config = versions(ClientConfig::builder_with_provider(Arc::clone(&provider)))
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(DatesOnly(provider)))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let builder = check(
        name,
        Tls {
            address: address.clone(),
            server,
            connector,
            warn_before,
        },
    );
    builder.refuse(&address, problem, "host:port, such as shop.example:443")
}

/// TLS 1.2 and 1.3.
///
/// # Panics
///
/// Never: the provider used here has cipher suites for both.
pub(super) fn versions(
    builder: ConfigBuilder<ClientConfig, WantsVersions>,
) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    builder
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for TLS 1.2 and 1.3")
}

struct Tls {
    address: String,
    server: ServerName<'static>,
    connector: TlsConnector,
    warn_before: Duration,
}

impl Tls {
    /// When the server's certificate runs out.
    async fn not_after(
        &self,
        context: &CheckContext,
    ) -> Result<SystemTime, Box<dyn Error + Send + Sync>> {
        let addresses = resolve(context, self.address.clone()).await?;
        let stream = TcpStream::connect(&*addresses).await?;
        let stream = self.connector.connect(self.server.clone(), stream).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let leaf = chain.first().ok_or("the server showed no certificate")?;
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf)?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        Ok(UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

impl Check for Tls {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        match timeout(limit, self.not_after(context)).await {
            Ok(Ok(not_after)) => judge(not_after, SystemTime::now(), self.warn_before),
            Ok(Err(error)) => Verdict::failed(&*error),
            Err(_) => {
                Verdict::down(format!("no certificate within {limit:?}")).reason(Reason::Timeout)
            }
        }
    }
}

fn judge(not_after: SystemTime, now: SystemTime, warn_before: Duration) -> Verdict {
    let days = |left: Duration| left.as_secs() / (24 * 3600);
    let verdict = match not_after.duration_since(now) {
        Err(_) => Verdict::down("the certificate has run out"),
        Ok(left) if left < warn_before => {
            Verdict::degraded(format!("the certificate runs out in {} days", days(left)))
        }
        Ok(_) => Verdict::up(),
    };
    verdict.detail(
        "not_after",
        humantime::format_rfc3339_seconds(not_after).to_string(),
    )
}

/// Believes every certificate, so that its dates can be read, but still wants the handshake to be signed with its key.
#[derive(Debug)]
struct DatesOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for DatesOnly {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::status::Status::{Degraded, Down, Up};
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_certificate_is_judged_by_what_is_left() {
        let day = Duration::from_secs(24 * 3600);
        let now = UNIX_EPOCH + 100 * day;
        for (not_after, expected) in [
            (99 * day, Down),
            (101 * day, Degraded),
            (113 * day, Degraded),
            (114 * day, Up),
        ] {
            assert_eq!(
                judge(UNIX_EPOCH + not_after, now, 14 * day).status,
                expected,
                "{not_after:?}"
            );
        }
    }
}
