use std::time::{Duration, Instant};

use bilten_db::sea_orm::ConnectionTrait;
use bilten_db::{Cluster, Error};
use bilten_testbed::{Postgres, eventually};

use crate::fixture::{ask, builder_for, is_up, port, private, who_reads};

const LIMIT: Duration = Duration::from_secs(20);
const INSERT: &str = "insert into event (name) values ('a') returning port";

fn reason(db: &Cluster, id: &str) -> String {
    let status = db.status();
    let node = status.nodes.iter().find(|node| node.id == id).unwrap();
    node.reason.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_takes_the_writes_and_the_old_primary_is_fenced() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    assert_eq!(
        ask::<i32>(&db, INSERT).await.unwrap(),
        port(postgres.primary())
    );
    postgres.primary().kill().unwrap();
    postgres.replica(0).promote().unwrap();
    let begun = Instant::now();
    let took = loop {
        match ask::<i32>(&db, INSERT).await {
            Ok(took) => break took,
            Err(_) => assert!(begun.elapsed() < LIMIT, "no write succeeded"),
        }
    };
    assert_eq!(took, port(postgres.replica(0)));
    assert_eq!(db.status().primary().id, "r1");

    // It comes back, still believing that it is the primary.
    postgres.primary().restart().unwrap();
    eventually(LIMIT, || reason(&db, "primary").contains("takes writes"));
    assert!(!is_up(&db, "primary"));
    for _ in 0..20 {
        assert_eq!(
            ask::<i32>(&db, INSERT).await.unwrap(),
            port(postgres.replica(0))
        );
        assert_ne!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    }
    let rows = postgres
        .primary()
        .psql("select count(*) from event where name = 'a'")
        .unwrap();
    assert_eq!(rows, "1", "no write reached it after the fail-over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_beside_a_living_primary_moves_the_writes_once() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.replica(0).promote().unwrap();
    eventually(LIMIT, || db.status().primary().id == "r1");
    for _ in 0..50 {
        assert_eq!(
            ask::<i32>(&db, INSERT).await.unwrap(),
            port(postgres.replica(0))
        );
    }
    assert!(
        !is_up(&db, "primary"),
        "two nodes take writes: the older history is fenced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_turned_standby_before_the_start_is_found_among_the_replicas() {
    let postgres = private(2);
    let db = Cluster::builder()
        .primary(postgres.replica(0).url())
        .replica("r1", postgres.primary().url())
        .replica("r2", postgres.replica(1).url())
        .connect()
        .await
        .unwrap();
    assert_eq!(db.status().primary().id, "r1");
    assert_eq!(
        ask::<i32>(&db, INSERT).await.unwrap(),
        port(postgres.primary())
    );

    let error = Cluster::builder()
        .primary(postgres.replica(0).url())
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }));
    assert!(error.to_string().contains("is a standby"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_a_primary_serves_nothing() {
    let postgres = private(0);
    let other = Postgres::start().unwrap();
    let db = Cluster::builder()
        .primary(postgres.primary().url())
        .replica("other", other.primary().url())
        .replica("same", postgres.primary().url())
        .connect()
        .await
        .unwrap();
    for id in ["other", "same"] {
        assert!(
            reason(&db, id).contains("takes writes"),
            "{}",
            reason(&db, id)
        );
    }
    for _ in 0..10 {
        assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    }
    db.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
}
