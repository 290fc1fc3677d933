//! Redis or a replica goes away; the service does not.

use std::time::Duration;

use bilten_testbed::{Postgres, Redis};
use http::StatusCode;

use crate::api::{Api, on_servers};

#[tokio::test]
async fn redis_down_at_start_the_service_starts_and_says_so() {
    let redis = Redis::start().unwrap();
    let config = on_servers(redis.url());
    redis.kill().unwrap();
    let api = Api::start(&config).await;
    let first = api.get("/api/v1/events/42").await;
    assert_eq!(
        (first.status, first.x_cache.as_str()),
        (StatusCode::OK, "miss")
    );
    assert_eq!(api.get("/api/v1/events/42").await.x_cache, "l1");
    let report = api.get("/healthz").await;
    assert_eq!(
        (report.status, &report.json["status"]),
        (StatusCode::OK, &"degraded".into()),
        "{report:?}"
    );
    assert_eq!(api.get("/readyz").await.status, StatusCode::OK);

    redis.restart().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while api.get("/healthz").await.json["status"] != "up" {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not healthy again: {:?}",
            api.get("/healthz").await
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_killed_under_load_answers_go_on() {
    let redis = Redis::start().unwrap();
    let api = Api::start(&on_servers(redis.url())).await;
    let visitors = (0..8_i64).map(|visitor| {
        let api = api.clone();
        tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            for step in 0..60 {
                let begun = std::time::Instant::now();
                let path = format!("/api/v1/events/{}", 1 + (visitor * 61 + step * 7) % 900);
                let reply = api.get(&path).await;
                assert_eq!(reply.status, StatusCode::OK, "{path}: {reply:?}");
                slowest = slowest.max(begun.elapsed());
                if step == 20 && visitor == 0 {
                    return (slowest, true);
                }
            }
            (slowest, false)
        })
    });
    let mut visitors: Vec<_> = visitors.collect();
    // The first visitor stops half-way: Redis dies while the others go on.
    let (_, halfway) = visitors.remove(0).await.unwrap();
    assert!(halfway);
    redis.kill().unwrap();
    for visitor in visitors {
        let (slowest, _) = visitor.await.unwrap();
        assert!(
            slowest < Duration::from_secs(5),
            "an answer took {slowest:?}"
        );
    }
    assert_eq!(api.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dead_replica_is_not_noticed_by_visitors() {
    let postgres = Postgres::builder().replicas(2).start().unwrap();
    let database = postgres.create_database("events").unwrap();
    let url = |i: usize| postgres.replica(i).url_for(&database);
    let config = bilten_events::config::Config {
        database: Some(postgres.primary().url_for(&database)),
        replica: vec![url(0), url(1)],
        pool_max: 8,
        ..bilten_events::config::Config::default()
    };
    let api = Api::start(&config).await;
    postgres.replica(0).kill().unwrap();
    for id in 1..=40 {
        let reply = api.get(&format!("/api/v1/events/{id}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }
}
