//! Places in a pool that come back at once, and pools that are full and not dead.

use std::time::Duration;

use bilten_db::scope::{Freshness, Route, with_freshness, with_route};
use bilten_db::sea_orm::{
    AccessMode, ConnectionTrait, EntityTrait, Statement, StreamTrait, TransactionTrait,
};
use bilten_db::{Cluster, Error, Fallback};
use bilten_testbed::eventually_async;
use futures_util::TryStreamExt;
use tokio::time::timeout;

use crate::fixture::{LIMIT, Shop, ask, cluster, event, patient, seen, who_reads};

const INSERT: &str = "insert into event (name) values ('a')";
/// Nobody waits so long in vain.
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// One connection for each node, which is waited for so long.
async fn narrow(shop: &Shop, patience: Duration) -> Cluster {
    let pool = patient().max(1).acquire_timeout(patience);
    cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.replicas[0])
        .pool(pool)
        .fallback(Fallback::Error)
        .connect()
        .await
        .unwrap()
}

/// The first row comes at once, the last in ten minutes.
fn slow_rows(db: &Cluster) -> Statement {
    let sql = "select n, repeat('x', 9000), pg_sleep(case when n = 5 then 600 else 0 end)::text from generate_series(1, 9) n";
    Statement::from_string(ConnectionTrait::get_database_backend(db), sql)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_dropped_early_gives_its_place_back_at_once() {
    let shop = Shop::open("places_stream").await;
    let db = narrow(&shop, TWO_MINUTES).await;
    let many = "select generate_series(1, 2000000000)";
    let many = Statement::from_string(ConnectionTrait::get_database_backend(&db), many);
    for stmt in [many, slow_rows(&db)] {
        let mut rows = db.stream_raw(stmt).await.unwrap();
        rows.try_next().await.unwrap().unwrap();
        drop(rows);
        let read = timeout(LIMIT, who_reads(&db)).await;
        read.expect("the only place is free").unwrap();
    }
    // One that was read to its end hands its connection on.
    let pid = "select pg_backend_pid()";
    let before: i32 = ask(&db, pid).await.unwrap();
    let short = Statement::from_string(ConnectionTrait::get_database_backend(&db), pid);
    let rows: Vec<_> = db
        .stream_raw(short)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rows[0].try_get_by_index::<i32>(0).unwrap(), before);
    assert_eq!(ask::<i32>(&db, pid).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_dropped_in_the_middle_gives_its_place_back() {
    let shop = Shop::open("places_tx").await;
    let db = narrow(&shop, TWO_MINUTES).await;
    let tx = db.begin().await.unwrap();
    tx.execute_unprepared(INSERT).await.unwrap();
    let sleep = tx.execute_unprepared("select pg_sleep(600)");
    let short = Duration::from_millis(100);
    timeout(short, sleep).await.unwrap_err();
    drop(tx);
    let write = timeout(LIMIT, db.execute_unprepared(INSERT)).await;
    write.expect("the only place is free").unwrap();

    let tx = db.begin().await.unwrap();
    let mut rows = tx.stream_raw(slow_rows(&db)).await.unwrap();
    rows.try_next().await.unwrap().unwrap();
    drop(rows);
    drop(tx);
    let write = timeout(LIMIT, db.execute_unprepared(INSERT)).await;
    write.expect("the only place is free").unwrap();
    let count: i64 = ask(&db.primary(), "select count(*) from event")
        .await
        .unwrap();
    assert_eq!(count, 2, "what was dropped was not committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_full_is_not_told_as_missing() {
    let shop = Shop::open("places_full").await;
    let db = narrow(&shop, Duration::from_millis(200)).await;
    let held = tokio::spawn({
        let db = db.clone();
        async move { ask::<bool>(&db, "select pg_sleep(60) is null").await }
    });
    let busy = || async {
        db.status()
            .replicas()
            .all(|r| r.in_flight == 1 && r.pool.size == 1)
    };
    eventually_async(LIMIT, busy).await;
    for outcome in [
        who_reads(&db).await,
        who_reads(&db.session()).await,
        with_route(Route::Replica, who_reads(&db)).await,
    ] {
        let error = outcome.unwrap_err().to_string();
        let told = ["r1", "all 1 connections were in use", "raise max"];
        assert!(told.iter().all(|word| error.contains(word)), "{error}");
    }
    assert!(
        db.status()
            .replicas()
            .all(|r| r.is_up() && r.ejections == 0)
    );
    held.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_in_a_failed_transaction_is_given_to_nobody() {
    let shop = Shop::open("places_failed").await;
    let db = narrow(&shop, TWO_MINUTES).await;
    for _ in 0..3 {
        let failing = "begin; insert into event (name) values ('lost'); insert into nowhere values (1); commit";
        db.execute_unprepared(failing).await.unwrap_err();
        db.execute_unprepared(INSERT).await.unwrap();
    }
    let names: i64 = ask(&db.primary(), "select count(*) from event where name = 'a'")
        .await
        .unwrap();
    assert_eq!(names, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changed_its_columns_is_read_and_written_at_once() {
    let shop = Shop::open("places_changed").await;
    let db = narrow(&shop, TWO_MINUTES).await;
    let read = || async {
        let row = event::Entity::find().one(&db).await.unwrap().unwrap();
        let all = "select * from event";
        let all = Statement::from_string(ConnectionTrait::get_database_backend(&db), all);
        db.query_all_raw(all.clone()).await.unwrap();
        let streamed: Vec<_> = db
            .stream_raw(all)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(!streamed.is_empty());
        row.name
    };
    let write = || async {
        let sql = "insert into event (name) values ('a') returning *";
        let insert = Statement::from_string(ConnectionTrait::get_database_backend(&db), sql);
        db.query_one_raw(insert).await.unwrap().unwrap();
    };
    write().await;
    for kind in ["varchar(9)", "varchar(10)"] {
        shop.settle().await;
        assert_eq!(read().await, "a");
        let alter = format!("alter table event alter column name type {kind}");
        db.execute_unprepared(&alter).await.unwrap();
        write().await;
    }
    assert_eq!(db.status().learned_writes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_transactions_run_on_their_node_until_they_end() {
    let shop = Shop::open("places_flights").await;
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.replicas[0])
        .connect();
    let db = db.await.unwrap();
    let running = || seen(&db, "r1").in_flight;
    let mut rows = db.stream_raw(slow_rows(&db)).await.unwrap();
    rows.try_next().await.unwrap();
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    assert_eq!(running(), 2);
    drop(rows);
    assert_eq!(running(), 1);
    tx.commit().await.unwrap();
    let few = "select n from generate_series(1, 3) n";
    let few = Statement::from_string(ConnectionTrait::get_database_backend(&db), few);
    let mut rows = db.stream_raw(few).await.unwrap();
    assert_eq!(running(), 1);
    while rows.try_next().await.unwrap().is_some() {}
    assert_eq!(running(), 0, "its end is the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_were_promised_the_primary_do_not_flood_it_either() {
    let shop = Shop::open("places_promised").await;
    let db = narrow(&shop, TWO_MINUTES).await;
    let newest = Freshness::MaxLag(Duration::ZERO);
    let slow = || {
        let db = db.clone();
        let read = async move { ask::<bool>(&db, "select pg_sleep(60) is null").await };
        tokio::spawn(with_freshness(newest, read))
    };
    let busy = [slow(), slow()];
    let two = || async { db.status().primary().in_flight == 2 };
    eventually_async(LIMIT, two).await;
    let error = with_freshness(newest, who_reads(&db)).await.unwrap_err();
    let told = Error::of(&error);
    assert!(
        matches!(told, Some(Error::Overloaded { limit: 2, .. })),
        "{error}"
    );
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}
