//! A cache whose second level comes and goes, with a real server.

use crate::doubles::{health, ms};
use bilten_cache::Cache;
use bilten_health::{Health, Status, checks};
use bilten_testbed::Redis;
use std::time::Duration;
use tokio::time::{Instant, sleep};

async fn becomes(health: &Health, status: Status) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = health.check().await;
        if report.status == status {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "never became {status}: {}",
            report.to_json()
        );
        sleep(ms(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_in_memory_is_up() {
    let cache = Cache::builder("shop").build().await.unwrap();
    assert_eq!(
        health([checks::cache("cache", &cache)])
            .check()
            .await
            .status,
        Status::Up
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_without_its_second_level_is_degraded_and_not_down() {
    let server = Redis::start().unwrap();
    let cache = Cache::builder("shop")
        .redis(server.url())
        .build()
        .await
        .unwrap();
    let health = health([checks::cache("cache", &cache).cache(Duration::ZERO)]);
    becomes(&health, Status::Up).await;
    server.kill().unwrap();
    becomes(&health, Status::Degraded).await;
    assert!(health.check().await.healthy);
    server.restart().unwrap();
    becomes(&health, Status::Up).await;
}
