//! A cache whose second level comes and goes, with a real server.

use crate::doubles::{ms, patient};
use crate::polling::until;
use bilten_cache::{Cache, RedisClient};
use bilten_health::{CheckReport, Health, Status, checks};
use bilten_testbed::Redis;
use std::time::Duration;

async fn becomes(health: &Health, status: Status) -> CheckReport {
    until(health, "cache", |check| check.status == status).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_in_memory_is_up() {
    let cache = Cache::builder("shop").build().await.unwrap();
    assert_eq!(
        patient([checks::cache("cache", &cache)])
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
    let health = patient([checks::cache("cache", &cache).cache(Duration::ZERO)]);
    let report = becomes(&health, Status::Up).await;
    assert_eq!(report.details["connection"], "connected");
    assert_eq!(report.details["log_lag"], 0);
    assert!(report.details["log_age_ms"].is_number(), "{report:?}");
    server.kill().unwrap();
    // Nobody calls it, so its log falls silent before a call can fail.
    let report = becomes(&health, Status::Degraded).await;
    assert!(
        ["unheard", "down"]
            .map(Into::into)
            .contains(&report.details["connection"]),
        "{report:?}"
    );
    assert!(health.check().await.healthy);
    server.restart().unwrap();
    becomes(&health, Status::Up).await;
}

// The limit is shorter than the pause between two looks at the log: between them the cache counts as cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_cut_off_from_its_log_is_degraded_and_says_for_how_long() {
    let server = Redis::start().unwrap();
    let cache = Cache::builder("shop")
        .redis(server.url())
        .isolated_ttl(ms(1))
        .build()
        .await
        .unwrap();
    let health = patient([checks::cache("cache", &cache).cache(Duration::ZERO)]);
    let cut_off = |check: &CheckReport| check.details["connection"] == "unheard";
    let report = until(&health, "cache", cut_off).await;
    assert_eq!(report.status, Status::Degraded);
    let error = report.error.as_deref().unwrap();
    assert!(
        error.contains("cut off from the invalidation log for"),
        "{error}"
    );
}

// The order: connected, the password is changed, the connections are ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_whose_password_is_not_accepted_any_more_says_so_with_either_client() {
    for client in [RedisClient::Fred, RedisClient::RedisRs] {
        let server = Redis::builder()
            .user("app", "secret", "~* &* +@all")
            .start()
            .unwrap();
        let cache = Cache::builder("shop")
            .redis(bilten_cache::Redis::url(server.url()).client(client))
            .build()
            .await
            .unwrap();
        let health = patient([checks::cache("cache", &cache).cache(Duration::ZERO)]);
        becomes(&health, Status::Up).await;
        let change = ["ACL", "SETUSER", "app", "resetpass", ">another-secret"];
        server.cli(&change).unwrap();
        server.cli(&["CLIENT", "KILL", "USER", "app"]).unwrap();
        let told = |check: &CheckReport| {
            let error = check.error.as_deref().unwrap_or_default();
            assert!(!error.contains("secret"), "{error}");
            error.contains("does not accept user name and password (WRONGPASS")
        };
        assert_eq!(until(&health, "cache", told).await.status, Status::Degraded);
        server.cli(&["ACL", "SETUSER", "app", ">secret"]).unwrap();
        assert_eq!(becomes(&health, Status::Up).await.error, None);
    }
}
