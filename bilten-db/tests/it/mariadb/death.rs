use std::time::{Duration, Instant};

use bilten_db::sea_orm::{ConnectionTrait, Database};
use bilten_db::{Cluster, Error, PoolConfig};
use bilten_testbed::eventually;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{builder_for, count, port, private, url};
use crate::fixture::{LIMIT, ask, is_up, patient, reason, tally, until_up, who_reads};

const INSERT: &str = "insert into event (name) values ('a')";

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_of_mariadb_takes_the_writes_and_the_old_primary_is_fenced() {
    let maria = private(2).await;
    let db = builder_for(&maria).connect().await.unwrap();
    db.execute_unprepared(INSERT).await.unwrap();
    maria.wait_for_replicas().unwrap();
    let session = db.session();
    session.execute_unprepared(INSERT).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    maria.wait_for_replicas().unwrap();

    maria.primary().kill().unwrap();
    maria.replica(0).promote().unwrap();
    maria.replica(1).follow(maria.replica(0)).unwrap();
    let begun = Instant::now();
    while let Err(error) = db.execute_unprepared(INSERT).await {
        assert!(begun.elapsed() < LIMIT, "no write succeeded: {error}");
    }
    assert_eq!(db.status().primary().id, "r1");
    assert_eq!(count(maria.replica(0)), "3");
    // A token of the time before is kept by whoever has it all.
    let old = db.session_with(token);
    let seen: i64 = ask(&old, "select count(*) from event").await.unwrap();
    assert!(seen >= 2, "{seen}");
    let session = db.session();
    session.execute_unprepared(INSERT).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    let next = db.session_with(token).wait(LIMIT);
    assert_eq!(who_reads(&next).await.unwrap(), port(maria.replica(1)));

    // It comes back, still believing that it is the primary.
    maria.primary().restart().unwrap();
    eventually(LIMIT, || reason(&db, "primary").contains("takes writes"));
    for _ in 0..10 {
        db.execute_unprepared(INSERT).await.unwrap();
        assert_ne!(who_reads(&db).await.unwrap(), port(maria.primary()));
    }
    assert_eq!(count(maria.primary()), "2", "no write reached it");

    // As a replica of the new primary it serves reads again.
    maria.primary().follow(maria.replica(0)).unwrap();
    // Its pauses have grown meanwhile.
    eventually(Duration::from_secs(90), || is_up(&db, "primary"));
    eventually(LIMIT, || count(maria.primary()) == "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_mariadb_made_writable_beside_its_primary_is_fenced() {
    let maria = private(1).await;
    let db = builder_for(&maria).connect().await.unwrap();
    maria.replica(0).promote().unwrap();
    eventually(LIMIT, || reason(&db, "r1").contains("set read_only there"));
    for _ in 0..10 {
        db.execute_unprepared(INSERT).await.unwrap();
        assert_eq!(who_reads(&db).await.unwrap(), port(maria.primary()));
    }
    assert_eq!(db.status().primary().id, "primary");
    assert_eq!(count(maria.replica(0)), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_over_in_order_moves_the_writes_of_mariadb() {
    let maria = private(1).await;
    let db = builder_for(&maria).connect().await.unwrap();
    db.execute_unprepared(INSERT).await.unwrap();
    maria.primary().sql("set global read_only = 1").unwrap();
    let refusal = db.execute_unprepared(INSERT).await.unwrap_err();
    assert!(refusal.to_string().contains("1290"), "{refusal}");
    maria.wait_for_replicas().unwrap();
    maria.replica(0).promote().unwrap();
    maria.primary().follow(maria.replica(0)).unwrap();
    eventually(LIMIT, || db.status().primary().id == "r1");
    db.execute_unprepared(INSERT).await.unwrap();
    assert_eq!(count(maria.replica(0)), "2");
    until_up(&db, "primary", true).await;
    assert_eq!(who_reads(&db).await.unwrap(), port(maria.primary()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_of_mariadb_costs_no_reader_an_error() {
    let maria = private(2).await;
    let db = builder_for(&maria).connect().await.unwrap();
    let stop = watch::Sender::new(false);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (db, stop) = (db.clone(), stop.clone());
        readers.spawn(async move {
            let mut reads = 0;
            while !*stop.borrow() {
                who_reads(&db).await.unwrap();
                reads += 1;
            }
            reads
        });
    }
    eventually(LIMIT, || db.status().replicas().all(|r| r.pool.size > 0));
    maria.replica(0).kill().unwrap();
    until_up(&db, "r1", false).await;
    let after = tally(&db, 20).await;
    assert_eq!(after, [(port(maria.replica(1)), 20)].into());
    maria.replica(0).restart().unwrap();
    until_up(&db, "r1", true).await;
    stop.send_replace(true);
    let reads: Vec<usize> = readers.join_all().await;
    assert!(reads.iter().all(|reads| *reads > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_replica_of_mariadb_is_left_and_keeps_no_permits() {
    let maria = private(2).await;
    let pool = PoolConfig::default()
        .max(3)
        .connect_timeout(Duration::from_secs(3))
        .query_timeout(Duration::from_secs(3));
    let db = builder_for(&maria).pool(pool).connect().await.unwrap();
    tally(&db, 20).await;
    maria.replica(0).pause().unwrap();
    for _ in 0..6 {
        let read = timeout(LIMIT, who_reads(&db)).await;
        assert!(read.is_ok_and(|port| port.is_ok()));
    }
    until_up(&db, "r1", false).await;
    eventually(LIMIT, || {
        db.status()
            .replicas()
            .any(|r| r.id == "r1" && r.pool.size == 0 && r.in_flight == 0)
    });
    maria.replica(0).resume().unwrap();
    until_up(&db, "r1", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_that_is_full_is_busy_and_not_dead() {
    let maria = private(1).await;
    let db = builder_for(&maria)
        .replica_pool(patient().max(2))
        .connect()
        .await
        .unwrap();
    tally(&db, 4).await;
    // One connection is kept for root.
    maria
        .replica(0)
        .sql("set global max_connections = 10")
        .unwrap();
    let mut others = Vec::new();
    loop {
        let options = url(maria.replica(0));
        match Database::connect(options).await {
            Ok(other) => others.push(other),
            Err(_) => break,
        }
        assert!(others.len() < 50, "the limit does not hold");
    }
    for _ in 0..20 {
        who_reads(&db).await.unwrap();
    }
    assert!(is_up(&db, "r1"), "{}", reason(&db, "r1"));
    let full = Cluster::builder().primary(url(maria.replica(0)));
    let full = full.connect().await.unwrap_err();
    assert!(matches!(full, Error::Unreachable { .. }));
    assert!(full.to_string().contains("no connection left"), "{full}");
    assert_eq!(
        ask::<i32>(&db, "select who()").await.unwrap(),
        port(maria.replica(0))
    );
}
