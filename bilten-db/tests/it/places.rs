//! Places in a pool that come back at once, and pools that are full and not dead.

use std::time::Duration;

use bilten_db::scope::{Route, with_route};
use bilten_db::sea_orm::{ConnectionTrait, Statement, StreamTrait, TransactionTrait};
use bilten_db::{Cluster, Fallback, PoolConfig};
use bilten_testbed::eventually_async;
use futures_util::TryStreamExt;
use tokio::time::timeout;

use crate::fixture::{LIMIT, Shop, ask, who_reads};

const INSERT: &str = "insert into event (name) values ('a')";
/// Nobody waits so long in vain.
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// One connection for each node, which is waited for so long.
async fn narrow(shop: &Shop, patience: Duration) -> Cluster {
    let pool = PoolConfig::default().max(1).acquire_timeout(patience);
    Cluster::builder()
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
