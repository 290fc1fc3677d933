//! A primary and its replicas as they come and go, with real servers.

use crate::doubles::{health, of};
use bilten_db::{Cluster, PoolConfig};
use bilten_health::{Health, Reason, Report, Status, checks};
use bilten_testbed::Postgres;
use sea_orm::TransactionTrait;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn checking(cluster: &Cluster) -> Health {
    health([checks::cluster("orders", cluster).cache(Duration::ZERO)])
}

async fn becomes(health: &Health, status: Status) -> Arc<Report> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = health.check().await;
        if report.status == status {
            return report;
        }
        assert!(
            Instant::now() < deadline,
            "never became {status}: {}",
            report.to_json()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// The lag of the replica in milliseconds, once it has been measured.
async fn behind(health: &Health) -> f64 {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = health.check().await;
        let replica = &of(&report, "orders").details["nodes"][1];
        if let (Some(lag), Some(_)) = (replica["lag_ms"].as_f64(), replica["lag_bytes"].as_u64()) {
            return lag;
        }
        assert!(Instant::now() < deadline, "never measured: {replica}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_replica_degrades_and_a_lost_primary_is_down() {
    let servers = Postgres::builder().replicas(1).start().unwrap();
    let cluster = Cluster::builder()
        .primary(servers.primary().url())
        .replica("r1", servers.replica(0).url())
        .connect()
        .await
        .unwrap();
    let health = checking(&cluster);
    let report = becomes(&health, Status::Up).await;
    let nodes = &of(&report, "orders").details["nodes"];
    assert_eq!(
        (&nodes[0]["id"], &nodes[1]["id"]),
        (&"primary".into(), &"r1".into())
    );
    assert_eq!(
        (&nodes[0]["role"], &nodes[1]["role"]),
        (&"primary".into(), &"replica".into())
    );

    assert!(nodes[0]["pool"]["max"].as_u64() > Some(0), "{nodes}");
    assert!(nodes[0].get("lag_ms").is_none(), "a primary has no lag");
    let lag = behind(&health).await;
    assert!((0.0..60_000.0).contains(&lag), "{lag} ms");

    servers.replica(0).kill().unwrap();
    let report = becomes(&health, Status::Degraded).await;
    assert!(
        of(&report, "orders")
            .error
            .as_deref()
            .unwrap()
            .contains("r1"),
        "{}",
        report.to_json()
    );
    servers.replica(0).restart().unwrap();
    becomes(&health, Status::Up).await;

    servers.primary().kill().unwrap();
    becomes(&health, Status::Down).await;
    servers.primary().restart().unwrap();
    becomes(&health, Status::Up).await;
}

// The order: the only connection is taken by a transaction, then the question comes, then the transaction ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_degraded_and_not_down() {
    let database = bilten_testbed::shared::postgres()
        .unwrap()
        .database("full")
        .unwrap();
    let pool = PoolConfig::default().max(1);
    let cluster = Cluster::builder()
        .primary(database.primary_url())
        .pool(pool)
        .connect()
        .await
        .unwrap();
    let health = checking(&cluster);
    becomes(&health, Status::Up).await;
    let transaction = cluster.begin().await.unwrap();
    let report = health.check().await;
    assert_eq!(report.status, Status::Degraded, "{}", report.to_json());
    assert_eq!(of(&report, "orders").reason, Some(Reason::Saturated));
    transaction.rollback().await.unwrap();
    becomes(&health, Status::Up).await;
}
