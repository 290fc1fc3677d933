//! The check of a server's certificate, with a real handshake.

use crate::certified::{acceptor, lasting};
use crate::doubles::{of, patient};
use bilten_health::{Status, checks};
use rcgen::KeyPair;
use std::time::Duration;
use tokio::net::TcpListener;

/// A server whose certificate runs out at the start of `year`.
async fn serve(year: i32) -> String {
    let key = KeyPair::generate().unwrap();
    let certificate = lasting("localhost", year).self_signed(&key).unwrap();
    let acceptor = acceptor(&certificate, &key);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    format!("localhost:{port}")
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn a_certificate_is_up_degraded_or_down_by_its_end() {
    let years = |n: u32| n * 365 * DAY;
    for (year, warn_before, expected) in [
        (2500, DAY, Status::Up),
        (2500, years(490), Status::Degraded),
        (2001, DAY, Status::Down),
    ] {
        let address = serve(year).await;
        let report = patient([checks::tls("certificate", address, warn_before)])
            .check()
            .await;
        let check = of(&report, "certificate");
        assert_eq!(report.status, expected, "{}", report.to_json());
        assert_eq!(
            check.details["not_after"],
            format!("{year}-01-01T00:00:00Z")
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_down_with_its_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let report = patient([checks::tls("certificate", address, DAY)])
        .check()
        .await;
    assert!(of(&report, "certificate").error.is_some());
}

#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_no_good_for_https() {
    let url = format!("https://{}/", serve(2500).await);
    let report = patient([checks::http("shop", url)]).check().await;
    let error = of(&report, "shop").error.as_deref().unwrap();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
}
