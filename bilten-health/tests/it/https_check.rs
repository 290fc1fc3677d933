//! The check that asks another service over TLS, with certificates of an authority of our own.

use crate::certified::{acceptor, lasting};
use crate::doubles::{of, patient};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::Listener;
use bilten_health::{Status, checks};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = pem(params.self_signed(&key).unwrap().der());
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// Serves `/ok` and `/broken` under `localhost`, with a certificate for `name` until `year`.
    async fn serve(&self, name: &str, year: i32) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = lasting(name, year).signed_by(&key, &self.issuer).unwrap();
        let acceptor = acceptor(&certificate, &key);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = Router::new()
            .route("/ok", get(async || "fine"))
            .route("/broken", get(async || StatusCode::INTERNAL_SERVER_ERROR));
        tokio::spawn(axum::serve(Tls { listener, acceptor }, app).into_future());
        format!("https://localhost:{port}")
    }
}

/// Accepts what finishes its handshake.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// DER as PEM: base64 between two lines.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (number, three) in der.chunks(3).enumerate() {
        let bits = (0..3).fold(0_u32, |bits, i| {
            bits << 8 | u32::from(*three.get(i).unwrap_or(&0))
        });
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() {
                char::from(digit)
            } else {
                '='
            });
        }
        if number % 16 == 15 {
            text.push('\n');
        }
    }
    text + "\n-----END CERTIFICATE-----\n"
}

#[tokio::test]
async fn a_service_with_a_certificate_of_our_own_authority_is_up() {
    let authority = Authority::new("ours");
    let base = authority.serve("localhost", 2500).await;
    let asking = |path: &str| checks::https("ledger", format!("{base}/{path}"), &authority.pem);
    let report = patient([asking("ok")]).check().await;
    assert_eq!(report.status, Status::Up, "{}", report.to_json());
    assert_eq!(of(&report, "ledger").details["http_status"], 200);
    let report = patient([asking("broken")]).check().await;
    assert_eq!(of(&report, "ledger").details["http_status"], 500);
    assert_eq!(report.status, Status::Down);
}

#[tokio::test]
async fn several_authorities_in_one_text_are_all_trusted() {
    let (one, other) = (Authority::new("ours"), Authority::new("theirs"));
    let both = format!("# ours\n{}\n{}", one.pem, other.pem);
    for authority in [&one, &other] {
        let url = format!("{}/ok", authority.serve("localhost", 2500).await);
        let report = patient([checks::https("ledger", url, &both)]).check().await;
        assert_eq!(report.status, Status::Up, "{}", report.to_json());
    }
}

#[tokio::test]
async fn what_the_authority_does_not_vouch_for_is_down() {
    let (ours, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let cases = [
        (stranger.serve("localhost", 2500).await, "UnknownIssuer"),
        (
            ours.serve("elsewhere.example", 2500).await,
            "not valid for name",
        ),
        (ours.serve("localhost", 2001).await, "expired"),
    ];
    for (base, problem) in cases {
        let check = checks::https("ledger", format!("{base}/ok"), &ours.pem);
        let report = patient([check]).check().await;
        let error = of(&report, "ledger").error.as_deref().unwrap();
        assert!(error.contains(problem), "{error}");
    }
    let system = checks::http(
        "ledger",
        format!("{}/ok", ours.serve("localhost", 2500).await),
    );
    assert!(
        !patient([system]).check().await.healthy,
        "the system does not know it"
    );
}
