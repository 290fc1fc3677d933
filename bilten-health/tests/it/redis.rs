//! Redis as it comes and goes, with a real server.

use crate::doubles::{health, ms, of, patient};
use bilten_health::{Health, Status, checks};
use bilten_testbed::{Redis, shared};
use fred::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

async fn client(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap())
        .with_connection_config(|connection| connection.connection_timeout = ms(1000))
        .set_policy(ReconnectPolicy::new_constant(0, 50))
        .build()
        .unwrap();
    client.init().await.unwrap();
    client
}

/// Asks until the answer is as wanted.
async fn becomes(health: &Health, healthy: bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let report = health.check().await;
        if report.healthy == healthy {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "never became healthy={healthy}: {}",
            report.to_json()
        );
        tokio::time::sleep(ms(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_is_up() {
    let client = client(&shared::redis().unwrap()).await;
    let report = patient([checks::redis("redis", &client)]).check().await;
    assert_eq!(report.status, Status::Up, "{}", report.to_json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_is_down_and_up_again_when_it_is_back() {
    let server = Redis::start().unwrap();
    let client = client(&server.url()).await;
    let health = health([checks::redis("redis", &client).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.kill().unwrap();
    becomes(&health, false).await;
    let report = health.check().await;
    assert!(of(&report, "redis").error.is_some(), "{}", report.to_json());
    server.restart().unwrap();
    becomes(&health, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_down_within_the_timeout() {
    let server = Redis::start().unwrap();
    let client = client(&server.url()).await;
    let health = health([checks::redis("redis", &client).cache(Duration::ZERO)]);
    becomes(&health, true).await;
    server.pause().unwrap();
    let report = health.check().await;
    assert_eq!(
        of(&report, "redis").reason,
        Some(bilten_health::Reason::Timeout),
        "{}",
        report.to_json()
    );
    server.resume().unwrap();
    becomes(&health, true).await;
}
