use std::time::{Duration, Instant};

use bilten_db::sea_orm::{
    AccessMode, ConnectionTrait, DatabaseBackend, Statement, StreamTrait, TransactionTrait,
};
use bilten_db::{Cluster, Error, Fallback};
use bilten_testbed::{Postgres, eventually};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::fixture::{
    LIMIT, Shop, ask, builder_for, cluster, is_up, patient, port, prepared, seen, tally,
    until_open, until_up, who_reads,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_replica_is_passed_over_and_not_ejected() {
    let shop = Shop::open("busy_full").await;
    let pool = patient().max(4);
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.replicas[0])
        .pool(pool.clone())
        .connect()
        .await
        .unwrap();
    // Long queries of this cluster fill r1; the other cluster shares nothing with it.
    let slow = |db: Cluster| async move { ask::<bool>(&db, "select pg_sleep(60) is null").await };
    let both = shop.builder().pool(pool).connect().await.unwrap();
    let fill = |db: &Cluster, n: usize| {
        (0..n)
            .map(|_| tokio::spawn(slow(db.clone())))
            .collect::<Vec<_>>()
    };
    let busy = fill(&both, 4);
    eventually(LIMIT, || {
        both.status().replicas().map(|r| r.in_flight).sum::<u32>() == 4
    });
    let more = fill(&both, 3);
    eventually(LIMIT, || {
        both.status().replicas().map(|r| r.in_flight).sum::<u32>() == 7
    });
    // Seven of eight connections are taken: only one replica has one to spare, and every read finds it.
    let ports = tally(&both, 40).await;
    assert_eq!(ports.len(), 1, "{ports:?}");
    let still = both.status().replicas().map(|r| r.in_flight).sum::<u32>();
    assert_eq!(still, 7, "no read waited for a full pool");
    assert!(both.status().replicas().all(|r| r.is_up()));

    let alone = fill(&db, 4);
    eventually(LIMIT, || db.status().replicas().all(|r| r.in_flight == 4));
    assert!(is_up(&db, "r1"), "a full pool is no failure");
    busy.iter()
        .chain(&more)
        .chain(&alone)
        .for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_wait_for_a_full_replica_and_not_one_goes_to_the_primary() {
    let shop = Shop::open("busy_waits").await;
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.replicas[0])
        .pool(patient().max(2).acquire_timeout(LIMIT))
        .connect()
        .await
        .unwrap();
    // Far more callers than connections: the numbers that the choice looks at change all the time.
    let readers: Vec<_> = (0..32)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { tally(&db, 50).await })
        })
        .collect();
    for reader in readers {
        let ports = reader.await.unwrap();
        assert_eq!(ports, [(shop.replica_ports()[0], 50)].into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_is_told_with_the_setting_to_change() {
    let shop = Shop::open("busy_told").await;
    let pool = patient().max(1).acquire_timeout(Duration::from_millis(300));
    let db = cluster()
        .primary(&shop.primary)
        .pool(pool)
        .connect()
        .await
        .unwrap();
    let busy = tokio::spawn({
        let db = db.clone();
        async move { ask::<bool>(&db, "select pg_sleep(60) is null").await }
    });
    eventually(LIMIT, || {
        let primary = seen(&db, "primary");
        (primary.in_flight, primary.pool.size) == (1, 1)
    });
    let error = who_reads(&db).await.unwrap_err().to_string();
    assert!(
        error.contains("primary") && error.contains("acquire_timeout") && error.contains("max"),
        "{error}"
    );
    assert!(is_up(&db, "primary"));
    busy.abort();
}

#[tokio::test]
async fn a_statement_that_the_server_ended_is_not_run_elsewhere() {
    let shop = Shop::open("busy_timeout").await;
    let pool = patient().statement_timeout(Duration::from_secs(1));
    let db = shop.builder().pool(pool).connect().await.unwrap();
    let begun = Instant::now();
    let error = ask::<bool>(&db, "select pg_sleep(60) is null")
        .await
        .unwrap_err();
    assert!(begun.elapsed() < LIMIT);
    assert!(error.to_string().contains("statement timeout"), "{error}");
    assert!(db.status().replicas().all(|r| r.is_up()));
    assert_eq!(db.status().replicas().map(|r| r.ejections).sum::<u64>(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_cancelled_for_replication_is_run_on_the_other_replica() {
    let postgres = Postgres::builder()
        .replicas(2)
        .setting("max_standby_streaming_delay", "100ms")
        .start()
        .unwrap();
    let postgres = prepared(postgres);
    // The second replica replays nothing, so nothing can conflict with a read there.
    postgres
        .primary()
        .psql("insert into event (name) select 'a' from generate_series(1, 1000)")
        .unwrap();
    postgres.wait_for_replicas().unwrap();
    postgres.replica(1).pause_replay().unwrap();
    let db = builder_for(&postgres).connect().await.unwrap();
    until_open(&db).await;
    // On the first replica it ends by the conflict or not at all.
    let sql = format!(
        "select inet_server_port() from (select count(*) from event, \
            pg_sleep(case inet_server_port() when {} then 600 else 0 end)) as slow",
        postgres.replica(0).port()
    );
    let read = |db: Cluster, sql: String| async move { ask::<i32>(&db, &sql).await };
    let mut reads = Vec::new();
    let asleep = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
    eventually(LIMIT, || {
        reads.push(tokio::spawn(read(db.clone(), sql.clone())));
        postgres.replica(0).psql(asleep).unwrap() != "0"
    });
    postgres.primary().psql("delete from event").unwrap();
    postgres.primary().psql("vacuum event").unwrap();
    for read in reads {
        let answered_by = read.await.unwrap().unwrap();
        let other = port(postgres.replica(1));
        assert_eq!(answered_by, other, "the conflict moved the read");
    }
    assert_eq!(db.status().replicas().map(|r| r.ejections).sum::<u64>(), 0);
}

#[tokio::test]
async fn an_answer_for_the_caller_is_not_asked_for_again() {
    let shop = Shop::open("busy_answer").await;
    let db = shop.connect().await;
    for sql in [
        "select * from no_such_table",
        "select 1 / 0",
        "select 'a'::int",
    ] {
        let error = ask::<i32>(&db, sql).await.unwrap_err();
        assert!(!error.to_string().is_empty());
    }
    assert!(
        db.status()
            .replicas()
            .all(|r| r.is_up() && r.ejections == 0)
    );
    db.execute_unprepared("select 1").await.unwrap();
}

#[tokio::test]
async fn sessions_of_a_lone_primary_queue_as_plain_reads_do() {
    let shop = Shop::open("busy_lone").await;
    let db = cluster()
        .primary(&shop.primary)
        .fallback(Fallback::Primary { max_in_flight: 1 })
        .pool(patient().max(2).acquire_timeout(LIMIT))
        .connect()
        .await
        .unwrap();
    let session = db.session();
    let write = "insert into event (name) values ('a')";
    session.execute_unprepared(write).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    let next: Vec<_> = (0..20).map(|_| db.session_with(token)).collect();
    for read in join_all(next.iter().map(who_reads)).await {
        assert_eq!(read.unwrap(), shop.primary_port());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_on_the_primary_keeps_its_place() {
    let postgres = prepared(Postgres::builder().replicas(1).start().unwrap());
    let db = builder_for(&postgres).fallback(Fallback::Primary { max_in_flight: 1 });
    let db = db.connect().await.unwrap();
    postgres.replica(0).kill().unwrap();
    until_up(&db, "r1", false).await;
    let is_full = async || {
        let error = who_reads(&db).await.err();
        let error = error.as_ref().and_then(Error::of);
        matches!(error, Some(Error::Overloaded { .. }))
    };
    let two = Statement::from_string(DatabaseBackend::Postgres, "values (1), (2)");
    let rows = db.stream_raw(two).await.unwrap();
    assert!(is_full().await, "a stream is open");
    drop(rows);
    assert!(!is_full().await);
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    assert!(is_full().await, "a transaction reads");
    tx.commit().await.unwrap();
    assert!(!is_full().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_sessions_that_fill_a_new_pool_wait_for_no_place_in_it() {
    let postgres = prepared(Postgres::builder().replicas(1).start().unwrap());
    let pool = patient().max(2);
    let pool = pool.acquire_timeout(3 * LIMIT);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let sql = "select inet_server_port() from generate_series(1, 2)";
    let two = || Statement::from_string(DatabaseBackend::Postgres, sql);
    // Each opens a connection and holds it while it makes sure of where that leads.
    let sessions = [db.session(), db.session()];
    let streams = join_all(sessions.iter().map(|session| session.stream_raw(two())));
    let streams = timeout(LIMIT, streams).await.expect("nobody waits");
    for stream in streams {
        let mut rows = stream.unwrap();
        let row = rows.try_next().await.unwrap().unwrap();
        let from: i32 = row.try_get_by_index(0).unwrap();
        assert_eq!(from, port(postgres.replica(0)));
    }
}
