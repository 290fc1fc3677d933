//! Whether another service answers whose certificate is of an authority of your own.

use super::connector::trusting;
use super::{asking, problem};
use crate::check::CheckBuilder;
use http::Uri;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// As [`checks::http`](crate::checks::http), but trusts the certificate authorities in `authorities`, PEM text with one
/// certificate or several, and no others.
///
/// For services inside a company whose certificates no system knows. Text without a certificate and URLs without `https` are
/// refused at build.
///
/// ```no_run
/// use bilten_health::{Health, checks};
///
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let authority = std::fs::read("/etc/ssl/company.pem")?;
/// let ledger = checks::https("ledger", "https://ledger.internal/livez", authority).non_critical();
/// let health = Health::builder().check(ledger).build()?;
/// # Ok(())
/// # }
/// ```
pub fn https(
    name: impl Into<String>,
    url: impl AsRef<str>,
    authorities: impl AsRef<[u8]>,
) -> CheckBuilder {
    let roots = roots(authorities.as_ref());
    let refused = roots.as_ref().err().copied();
    let connections = trusting(roots.unwrap_or_else(|_| RootCertStore::empty()));
    asking(name.into(), url.as_ref(), connections, |uri: &Uri| {
        let plain = (uri.scheme_str() == Some("http")).then_some("is not https");
        problem(uri).or(plain).or(refused)
    })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate.ok().and_then(|found| roots.add(found).ok());
        added.ok_or("comes with PEM text in which a certificate is broken")?;
    }
    if roots.is_empty() {
        return Err("comes with PEM text that has no certificate to trust");
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::https;
    use crate::health::Health;

    #[test]
    fn a_check_that_could_trust_nobody_is_refused_at_build() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (url, pem, problem) in [
            ("https://h/", "", "no certificate to trust"),
            ("https://h/", "not PEM", "no certificate to trust"),
            ("https://h/", broken, "certificate is broken"),
            ("http://h/", broken, "is not https"),
            ("nonsense", broken, "no scheme"),
        ] {
            let refused = Health::builder().check(https("ledger", url, pem)).build();
            let error = refused.unwrap_err().to_string();
            assert!(
                error.contains("check `ledger`") && error.contains(problem),
                "{error}"
            );
        }
    }
}
