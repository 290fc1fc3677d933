use std::time::{Duration, Instant};

use bilten_db::sea_orm::{ConnectionTrait, TransactionTrait};
use bilten_db::status::Rotation;
use bilten_db::{Cluster, Fallback, PoolConfig};
use bilten_testbed::{Direction, FaultProxy, eventually, eventually_async};
use futures_util::future::join_all;

use crate::fixture::{
    HELD, LIMIT, ask, builder_for, hold, is_up, patient, port, private, tally, until_open,
    until_up, who_reads,
};

/// What a frozen node may cost a caller: the look at it, with time to spare for a busy machine. Far below `query_timeout`.
const FROZEN_COSTS: Duration = Duration::from_secs(60);

/// What may not be waited for in these tests.
const FAR: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_wait_on_a_frozen_replica_move_to_another() {
    let postgres = private(2);
    let pool = patient().query_timeout(FAR);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let frozen = postgres.replica(0);
    until_open(&db).await;
    // Statements that are running there when it freezes, and would not end.
    let holder = hold(&frozen.url()).await;
    let read = |db: Cluster| async move { ask::<i32>(&db, "select held()").await };
    let reads: Vec<_> = (0..12).map(|_| tokio::spawn(read(db.clone()))).collect();
    eventually(LIMIT, || frozen.psql(HELD).unwrap() != "0");
    frozen.pause().unwrap();
    let begun = Instant::now();
    for read in reads {
        let answered_by = read.await.unwrap().unwrap();
        assert_eq!(answered_by, port(postgres.replica(1)));
    }
    assert!(begun.elapsed() < FROZEN_COSTS, "{:?}", begun.elapsed());
    let status = db.status();
    let r1 = status.replicas().find(|r| r.id == "r1").unwrap();
    assert!(!r1.is_up());
    assert_eq!((r1.in_flight, r1.pool.size), (0, 0), "its places are free");
    let reason = r1.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("no answer to anything"), "{reason}");

    frozen.resume().unwrap();
    until_up(&db, "r1", true).await;
    drop(holder);
    let has_its_share = || async { tally(&db, 20).await.get(&port(frozen)) == Some(&10) };
    eventually_async(LIMIT, has_its_share).await;
}

const RUNNING: &str =
    "select count(*) from pg_stat_activity where query like 'insert%' and state = 'active'";

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_a_frozen_primary_ends_in_doubt_and_is_not_repeated() {
    let postgres = private(1);
    let pool = patient().query_timeout(FAR);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let holder = hold(&postgres.primary().url()).await;
    let sql = "insert into event (name) select 'once' from held()";
    let write = tokio::spawn({
        let db = db.clone();
        async move { db.execute_unprepared(sql).await }
    });
    eventually(LIMIT, || postgres.primary().psql(RUNNING).unwrap() == "1");
    postgres.primary().pause().unwrap();
    let begun = Instant::now();
    let error = write.await.unwrap().unwrap_err().to_string();
    assert!(begun.elapsed() < FROZEN_COSTS, "{:?}", begun.elapsed());
    assert!(error.contains("unknown whether it was done"), "{error}");
    assert!(!is_up(&db, "primary"));

    postgres.primary().resume().unwrap();
    until_up(&db, "primary", true).await;
    drop(holder);
    eventually(LIMIT, || postgres.primary().psql(RUNNING).unwrap() == "0");
    let rows: i64 = ask(&db.primary(), "select count(*) from event")
        .await
        .unwrap();
    assert!(rows <= 1, "the write was done {rows} times");
    db.execute_unprepared("insert into event (name) values ('next')")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_outlived_a_freeze_may_take_its_time() {
    let postgres = private(0);
    let db = builder_for(&postgres).connect().await.unwrap();
    let tx = db.begin().await.unwrap();
    let insert = "insert into event (name) values ('a')";
    tx.execute_unprepared(insert).await.unwrap();
    postgres.primary().pause().unwrap();
    until_up(&db, "primary", false).await;
    postgres.primary().resume().unwrap();
    until_up(&db, "primary", true).await;
    tx.execute_unprepared("select pg_sleep(1)").await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_does_not_wait_for_a_replica_that_lets_nobody_in_while_another_does() {
    let postgres = private(2);
    let proxy = FaultProxy::to_blocking(postgres.replica(0).addr()).unwrap();
    let through = proxy.url_like(&postgres.replica(0).url()).unwrap();
    let db = Cluster::builder()
        .primary(postgres.primary().url())
        .replica("r1", &through)
        .replica("r2", postgres.replica(1).url())
        .pool(patient().connect_timeout(FAR))
        .connect()
        .await
        .unwrap();
    // Asked whatever its probes say, and without a connection of before: each of its reads has to open one.
    db.order("r1", Rotation::In).unwrap();
    proxy.blackhole(Direction::Both);
    let begun = Instant::now();
    let shares = tally(&db, 20).await;
    assert_eq!(shares, [(port(postgres.replica(1)), 20)].into());
    assert!(begun.elapsed() < FROZEN_COSTS, "{:?}", begun.elapsed());
    // What was begun goes on: once the replica answers, its connections are there.
    proxy.heal();
    until_up(&db, "r1", true).await;
    eventually(LIMIT, || db.status().replicas().all(|r| r.pool.size > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_wait_again_for_a_replica_known_to_be_frozen() {
    let postgres = private(1);
    let pool = patient().connect_timeout(FAR);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let sessions: Vec<_> = (0..3).map(|_| db.session()).collect();
    for session in &sessions {
        who_reads(session).await.unwrap();
    }
    postgres.replica(0).pause().unwrap();
    until_up(&db, "r1", false).await;
    let begun = Instant::now();
    for session in &sessions {
        let answered_by = who_reads(session).await.unwrap();
        assert_eq!(answered_by, port(postgres.primary()));
    }
    assert!(begun.elapsed() < FROZEN_COSTS, "{:?}", begun.elapsed());
    postgres.replica(0).resume().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_thaws_is_back_within_two_probes() {
    let postgres = private(1);
    let proxy = FaultProxy::to_blocking(postgres.replica(0).addr()).unwrap();
    let through = proxy.url_like(&postgres.replica(0).url()).unwrap();
    let db = Cluster::builder()
        .primary(postgres.primary().url())
        .replica("r1", &through)
        .connect()
        .await
        .unwrap();
    // What happens to be slow on this machine is so only sometimes.
    let mut rounds = Vec::new();
    for _ in 0..5 {
        postgres.replica(0).pause().unwrap();
        until_up(&db, "r1", false).await;
        postgres.replica(0).resume().unwrap();
        // Nobody reads there before it is back, so each new connection is that of a probe.
        let before = proxy.accepted();
        until_up(&db, "r1", true).await;
        rounds.push(proxy.accepted() - before);
        if rounds.last() <= Some(&2) {
            return;
        }
    }
    panic!("so many probes: {rounds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_on_a_frozen_replica_do_not_wait_for_each_other() {
    let postgres = private(1);
    let pool = PoolConfig::default().max(4).ping_if_idle(None);
    let pool = pool.acquire_timeout(LIMIT).query_timeout(FAR);
    let fallback = Fallback::Primary { max_in_flight: 50 };
    let db = builder_for(&postgres).pool(pool).fallback(fallback);
    let db = db.connect().await.unwrap();
    let replica = postgres.replica(0);
    let sessions: Vec<_> = (0..50).map(|_| db.session()).collect();
    for session in &sessions {
        assert_eq!(who_reads(session).await.unwrap(), port(replica));
    }
    let pid: i32 = ask(&db, "select pg_backend_pid()").await.unwrap();
    let end = format!("select pg_terminate_backend({pid}, 10000)");
    assert_eq!(replica.psql(&end).unwrap(), "t");
    replica.pause().unwrap();
    // The first finds the connection broken, so the server may have been started again: each of the others could ask.
    let begun = Instant::now();
    let reads = join_all(sessions.iter().map(who_reads)).await;
    for from in reads {
        assert_eq!(from.unwrap(), port(postgres.primary()));
    }
    assert!(begun.elapsed() < FROZEN_COSTS, "{:?}", begun.elapsed());
}
