//! Clients that stall, or send more than anybody needs.

use std::time::Duration;

use bilten_events::serve::Limits;

use crate::api::Api;
use crate::socket::Service;

const HALF_A_HEAD: &str = "GET /livez HTTP/1.1\r\nHost: a\r\nX-Slow: ";

#[tokio::test]
async fn half_a_head_does_not_hold_its_connection() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..Limits::default()
    };
    let router = Api::without_servers().await.router();
    let service = Service::start(router, limits);
    let mut stalled = service.connection(HALF_A_HEAD).await;
    let mut slow = service.connection("GET /livez").await;
    assert_eq!(stalled.rest().await, "");
    assert_eq!(slow.rest().await, "");
}

#[tokio::test]
async fn a_huge_body_is_refused_before_it_is_sent() {
    let router = Api::without_servers().await.router();
    let service = Service::start(router, Limits::default());
    let head = "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n";
    let answer = service.connection(head).await.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("application/problem+json"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_within_the_limit_is_asked_for() {
    let router = Api::without_servers().await.router();
    let service = Service::start(router, Limits::default());
    let head = "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut client = service.connection(head).await;
    client.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("{}").await;
    client.until("HTTP/1.1 400 ").await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_at_the_limit() {
    let router = Api::without_servers().await.router();
    let service = Service::start(router, Limits::default());
    let head = "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    let mut client = service.connection(head).await;
    client
        .send(&format!("{:x}\r\n{}\r\n", 66_000, " ".repeat(66_000)))
        .await;
    let answer = client.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
