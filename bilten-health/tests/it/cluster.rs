//! A primary and its replicas as they come and go, with real servers.

use crate::doubles::{health, of};
use crate::polling::{reaches, until};
use bilten_db::{Cluster, PoolConfig};
use bilten_health::{CheckReport, Health, Reason, Status, checks};
use bilten_testbed::Postgres;
use sea_orm::TransactionTrait;
use std::time::Duration;

fn checking(cluster: &Cluster) -> Health {
    health([checks::cluster("orders", cluster).cache(Duration::ZERO)])
}

/// The lag of the replica in milliseconds, once it has been measured.
async fn behind(health: &Health) -> f64 {
    let lag = |check: &CheckReport| {
        let replica = &check.details["nodes"][1];
        replica["lag_ms"]
            .as_f64()
            .filter(|_| replica["lag_bytes"].is_u64())
    };
    let measured = until(health, "orders", |check| lag(check).is_some()).await;
    lag(&measured).unwrap()
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
    let report = reaches(&health, Status::Up).await;
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
    let report = reaches(&health, Status::Degraded).await;
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
    reaches(&health, Status::Up).await;

    servers.primary().kill().unwrap();
    reaches(&health, Status::Down).await;
    servers.primary().restart().unwrap();
    reaches(&health, Status::Up).await;
}

/// Where the machine is busy a run may be over before the check itself has noticed.
fn is_full(check: &CheckReport) -> bool {
    check.reason == Some(Reason::Saturated)
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
    reaches(&health, Status::Up).await;
    let transaction = cluster.begin().await.unwrap();
    let report = until(&health, "orders", is_full).await;
    assert_eq!(report.status, Status::Degraded, "{report:?}");
    transaction.rollback().await.unwrap();
    reaches(&health, Status::Up).await;
}
