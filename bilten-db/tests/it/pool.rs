use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bilten_db::PoolConfig;
use bilten_db::sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseBackend, Statement, StreamTrait,
    TransactionTrait,
};
use bilten_testbed::{Postgres, eventually, eventually_async};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::fixture::{LIMIT, Shop, ask, builder_for, cluster, is_up, patient, private, who_reads};
use crate::warnings::Warnings;

fn alone(shop: &Shop, pool: PoolConfig) -> bilten_db::ClusterBuilder {
    cluster().primary(&shop.primary).pool(pool)
}

#[tokio::test]
async fn connections_are_replaced_after_about_max_uses() {
    let shop = Shop::open("pool_uses").await;
    let db = alone(&shop, patient().max(4).max_uses(50))
        .connect()
        .await
        .unwrap();
    let pids = async || {
        let mut pids = BTreeSet::new();
        for _ in 0..2500 {
            pids.insert(ask::<i32>(&db, "select pg_backend_pid()").await.unwrap());
        }
        pids
    };
    let each = join_all((0..4).map(|_| pids())).await;
    let pids: BTreeSet<i32> = each.into_iter().flatten().collect();
    // 10,000 uses, so 200 on average; within five standard deviations.
    assert!(
        (130..=275).contains(&pids.len()),
        "{} connections for 10,000 uses",
        pids.len()
    );
}

#[tokio::test]
async fn idle_connections_close_down_to_min() {
    let shop = Shop::open("pool_idle").await;
    let pool = patient().max(6).min(2).idle_timeout(Duration::from_secs(3));
    let db = alone(&shop, pool).connect().await.unwrap();
    let reads = (0..6).map(|_| ask::<bool>(&db, "select pg_sleep(0.1) is null"));
    join_all(reads).await;
    assert!(db.status().primary().pool.size > 2);
    eventually_async(LIMIT, || async { db.status().primary().pool.size == 2 }).await;
}

#[tokio::test]
async fn min_connections_are_open_before_anyone_asks() {
    let shop = Shop::open("pool_min").await;
    let pool = patient().max(5).min(3);
    let db = shop.builder().pool(pool).connect().await.unwrap();
    let ready = || {
        db.status()
            .nodes
            .iter()
            .all(|n| n.pool.size == 3 && n.pool.idle == 3)
    };
    eventually_async(LIMIT, || async { ready() }).await;
    who_reads(&db).await.unwrap();
    eventually_async(LIMIT, || async { ready() }).await;
}

#[tokio::test]
async fn a_connection_that_lay_idle_is_tested_before_a_write_is_sent() {
    let shop = Shop::open("pool_ping").await;
    let write = async |ping: Option<Duration>| {
        let pool = patient().max(1).ping_if_idle(ping);
        let db = alone(&shop, pool).connect().await.unwrap();
        let pid: i32 = ask(&db, "select pg_backend_pid()").await.unwrap();
        let other = Database::connect(&shop.primary).await.unwrap();
        let end = format!("select pg_terminate_backend({pid}, 10000)");
        assert!(ask::<bool>(&other, &end).await.unwrap());
        db.execute_unprepared("insert into event (name) values ('a')")
            .await
    };
    write(Some(Duration::from_millis(1))).await.unwrap();
    write(None)
        .await
        .expect_err("what is dead is found by the write itself");
}

#[tokio::test]
async fn a_min_that_the_server_refuses_is_told_once_and_ends_with_the_cluster() {
    let warnings = Warnings::of("bilten_db::keep");
    let _told = tracing::subscriber::set_default(warnings.clone());
    let postgres = Postgres::builder().max_connections(12).start().unwrap();
    let sessions = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let mut one = ConnectOptions::new(postgres.primary().url());
    one.max_connections(1);
    let watcher = Database::connect(one).await.unwrap();
    let db = cluster()
        .primary(postgres.primary().url())
        .pool(patient().max(40).min(40))
        .connect()
        .await
        .unwrap();
    let told = || warnings.told();
    eventually_async(LIMIT, || async { told() > 0 }).await;
    let refused = told();
    let told_again = Instant::now() + Duration::from_secs(3);
    while Instant::now() < told_again {
        // Others can log in, and the cluster works.
        ask::<i32>(&db, "select 7").await.unwrap();
    }
    assert_eq!((refused, told()), (1, 1));
    assert!(is_up(&db, "primary"), "full is not dead");
    drop(db);
    let others = || async { ask::<i64>(&watcher, sessions).await.unwrap() };
    eventually_async(LIMIT, || async { others().await == 0 }).await;
    for _ in 0..200 {
        assert_eq!(others().await, 0, "something goes on opening sessions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_gives_the_place_back() {
    let shop = Shop::open("pool_cancel").await;
    let db = alone(&shop, patient().max(2)).connect().await.unwrap();
    for _ in 0..10 {
        let reads: Vec<_> = (0..2)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move { ask::<bool>(&db, "select pg_sleep(60) is null").await })
            })
            .collect();
        eventually(LIMIT, || db.status().primary().in_flight == 2);
        reads.iter().for_each(tokio::task::JoinHandle::abort);
        eventually(LIMIT, || db.status().primary().in_flight == 0);
    }
    assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
    assert!(db.status().primary().pool.size <= 2);
}

#[tokio::test]
async fn a_statement_without_an_answer_in_time_gives_its_place_back() {
    let shop = Shop::open("pool_slow").await;
    let pool = patient().max(1).query_timeout(Duration::from_secs(2));
    let db = alone(&shop, pool).connect().await.unwrap();
    for _ in 0..3 {
        let error = ask::<bool>(&db, "select pg_sleep(60) is null")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("query_timeout"), "{error}");
        assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
    }
}

fn statement(sql: &str) -> Statement {
    Statement::from_string(DatabaseBackend::Postgres, sql)
}

const MINUTE: &str = "select pg_sleep(60) is null";
/// One row, and the second a minute later: what of it is ready already carries the first over.
const MINUTE_LATER: &str = "select repeat('x', 100000), pg_sleep(case n when 3 then 60 else 0 end) is null \
    from generate_series(1, 3) n";
/// More rows than anybody waits for.
const ENDLESS: &str = "select generate_series(1, 1000000000), repeat('x', 1000)";

#[tokio::test]
async fn a_stream_without_a_row_in_time_gives_its_place_back() {
    let shop = Shop::open("pool_rows").await;
    let pool = patient().max(1).query_timeout(Duration::from_secs(2));
    let db = alone(&shop, pool).connect().await.unwrap();
    for sql in [MINUTE, MINUTE_LATER] {
        let read = async { db.stream_raw(statement(sql)).await?.try_collect().await };
        let read: Result<Vec<_>, _> = read.await;
        let error = read.unwrap_err().to_string();
        let in_time = ["query_timeout", "was cut after"];
        assert!(in_time.iter().any(|sign| error.contains(sign)), "{error}");
        assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_gives_its_place_back() {
    let shop = Shop::open("pool_dropped").await;
    let db = alone(&shop, patient().max(1)).connect().await.unwrap();
    let mut endless = db.stream_raw(statement(ENDLESS)).await.unwrap();
    endless.try_next().await.unwrap().unwrap();
    drop(endless);
    assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
    let mut waiting = db.stream_raw(statement(MINUTE_LATER)).await.unwrap();
    waiting.try_next().await.unwrap().unwrap();
    let second = timeout(Duration::from_millis(100), waiting.try_next());
    second.await.unwrap_err();
    drop(waiting);
    assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
    // What the server is done with goes on with the same connection, unless this machine takes a moment too long to hear it.
    let pid = "select pg_backend_pid()";
    let stays = || async {
        let before: i32 = ask(&db, pid).await.unwrap();
        let mut two = db.stream_raw(statement("values (1), (2)")).await.unwrap();
        two.try_next().await.unwrap().unwrap();
        drop(two);
        ask::<i32>(&db, pid).await.unwrap() == before
    };
    eventually_async(LIMIT, stays).await;
}

#[tokio::test]
async fn a_transaction_whose_statement_goes_on_gives_its_place_back() {
    let shop = Shop::open("pool_tx").await;
    let pool = patient()
        .max(1)
        .acquire_timeout(LIMIT)
        .query_timeout(Duration::from_secs(3));
    let db = alone(&shop, pool).connect().await.unwrap();
    let tx = db.begin().await.unwrap();
    let error = tx.execute_unprepared(MINUTE).await.unwrap_err().to_string();
    assert!(error.contains("query_timeout"), "{error}");
    drop(tx);
    assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
    let tx = db.begin().await.unwrap();
    let left = timeout(Duration::from_millis(100), tx.execute_unprepared(MINUTE));
    left.await.unwrap_err();
    drop(tx);
    assert_eq!(who_reads(&db).await.unwrap(), shop.primary_port());
}

#[tokio::test]
async fn close_ends_every_session_and_refuses_new_calls() {
    let shop = Shop::open("pool_close").await;
    let db = shop
        .builder()
        .pool(patient().min(2))
        .connect()
        .await
        .unwrap();
    who_reads(&db).await.unwrap();
    db.close().await;
    who_reads(&db).await.unwrap_err();
    drop(db);
    let other = alone(&shop, patient()).connect().await.unwrap();
    let sessions = "select count(*) from pg_stat_activity where datname = current_database()";
    // What is left are the sessions of `other`: its own and its probe's.
    eventually_async(LIMIT, || async {
        ask::<i64>(&other, sessions).await.unwrap() <= 2
    })
    .await;
}

#[tokio::test]
async fn a_slow_read_is_not_run_again_on_every_node() {
    let shop = Shop::open("pool_once").await;
    let pool = patient().query_timeout(Duration::from_secs(2));
    let db = shop.builder().pool(pool).connect().await.unwrap();
    let sql = "select pg_sleep(47) is null, 'slow'";
    let error = ask::<bool>(&db, sql).await.unwrap_err();
    assert!(error.to_string().contains("query_timeout"), "{error}");
    assert!(
        db.status().replicas().all(|r| r.is_up()),
        "a slow statement is no failure of the node"
    );
    let mut running = 0;
    for url in shop.replicas.iter().chain([&shop.primary]) {
        let node = Database::connect(url).await.unwrap();
        let seen = "select count(*) from pg_stat_activity where query like 'select pg_sleep(47)%' and state = 'active'";
        running += ask::<i64>(&node, seen).await.unwrap();
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like 'select pg_sleep(47)%'";
        ask::<i64>(&node, end).await.unwrap();
    }
    assert_eq!(running, 1);
}

#[tokio::test]
async fn a_probe_whose_connection_was_ended_ejects_nothing() {
    let shop = Shop::open("pool_probe").await;
    let db = shop.connect().await;
    let replica = &Database::connect(&shop.replicas[0]).await.unwrap();
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    let probe = "select coalesce(max(pid), 0) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query like '%pg_is_in_recovery%'";
    // A new session of the probe shows that the end of the one before was noticed.
    let next = |last: i32| async move {
        let seen = || async { ask::<i32>(replica, probe).await.unwrap() };
        eventually_async(LIMIT, || async { ![0, last].contains(&seen().await) }).await;
        seen().await
    };
    let mut pid = next(0).await;
    for _ in 0..4 {
        assert!(ask::<i64>(replica, end).await.unwrap() > 0);
        pid = next(pid).await;
        let status = db.status();
        let r1 = status.replicas().find(|r| r.id == "r1").unwrap();
        assert!(r1.is_up() && r1.ejections == 0, "{r1:?}");
    }
    who_reads(&db).await.unwrap();
}

#[tokio::test]
async fn the_longest_durations_there_are_overflow_nothing() {
    let shop = Shop::open("pool_longest").await;
    let pool = PoolConfig::default()
        .idle_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .acquire_timeout(Duration::MAX)
        .query_timeout(Duration::MAX)
        .statement_timeout(Duration::MAX)
        .max_lifetime(Duration::MAX)
        .ping_if_idle(Duration::MAX);
    let builder = alone(&shop, pool.clone()).max_lag(Duration::MAX);
    let db = builder.replica_pool(pool).connect().await.unwrap();
    assert_eq!(ask::<i32>(&db, "select 7").await.unwrap(), 7);
    let session = db.session().wait(Duration::MAX).max_lag(Duration::MAX);
    assert_eq!(ask::<i32>(&session, "select 8").await.unwrap(), 8);
}

/// A text that runs what it prepared itself may have had an effect before the server finds the plan to be stale.
#[tokio::test]
async fn a_text_whose_own_plan_is_stale_is_not_run_a_second_time() {
    let shop = Shop::open("pool_own_plan").await;
    let db = alone(&shop, patient().max(1).max_uses(None));
    let db = db.connect().await.unwrap();
    let sql = "prepare own as select seat from ticket";
    db.execute_unprepared(sql).await.unwrap();
    let sql = "alter table ticket alter seat type varchar(10)";
    db.execute_unprepared(sql).await.unwrap();
    let text = "begin; insert into event (name) values ('once'); commit; execute own";
    let error = db.execute_unprepared(text).await.unwrap_err();
    assert!(error.to_string().contains("cached plan"), "{error}");
    let count: i64 = ask(&db, "select count(*) from event").await.unwrap();
    assert_eq!(count, 1);
}

/// The first try waits for a lock before it is refused, the second one sleeps: neither takes as long as a statement may.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_prepared_anew_has_the_time_of_one() {
    let shop = Shop::open("pool_stale_in_time").await;
    let limit = Duration::from_secs(2);
    let pool = patient().max(1).max_uses(None).query_timeout(limit);
    let db = alone(&shop, pool).connect().await.unwrap();
    let part = limit.mul_f64(0.7);
    let sql = format!("select seat from ticket, pg_sleep({})", part.as_secs_f64());
    let ask_all = async || {
        let stmt = Statement::from_string(DatabaseBackend::Postgres, &sql);
        db.query_all_raw(stmt).await
    };
    // The table is empty, and read first.
    while ask_all().await.is_err() {}
    let other = cluster().primary(&shop.primary).connect().await.unwrap();
    let change = other.begin().await.unwrap();
    let text = "alter table ticket alter seat type varchar(10); insert into event (name) values ('a'); \
        insert into ticket (event_id, seat) select id, 'a1' from event";
    change.execute_unprepared(text).await.unwrap();
    let waits =
        "select exists (select from pg_locks where not granted and relation = 'ticket'::regclass)";
    let (told, ()) = tokio::join!(ask_all(), async {
        eventually_async(LIMIT, || async {
            ask::<bool>(&change, waits).await.unwrap()
        })
        .await;
        tokio::time::sleep(part).await;
        change.commit().await.unwrap();
    });
    let error = told.unwrap_err().to_string();
    assert!(error.contains("query_timeout"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ended_for_idling_leaves_no_doubt() {
    let postgres = private(1);
    let pool = patient().max(1).max_uses(None).ping_if_idle(None);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let lag = || db.status().replicas().all(|r| r.lag.is_some());
    eventually(LIMIT, lag);
    let short = "set idle_session_timeout = 50";
    db.execute_unprepared(short).await.unwrap();
    let read_only = Some(AccessMode::ReadOnly);
    let tx = db.begin_with_config(None, read_only).await.unwrap();
    tx.execute_unprepared(short).await.unwrap();
    tx.commit().await.unwrap();
    let idle = "select count(*) from pg_stat_activity where query in ('COMMIT', 'set idle_session_timeout = 50')";
    for node in [postgres.primary(), postgres.replica(0)] {
        eventually(LIMIT, || node.psql(idle).unwrap() == "0");
    }
    let insert = "insert into event (name) values ('a')";
    // It was not run, so it takes another connection: nobody hears of it.
    db.execute_unprepared(insert).await.unwrap();
    let (reader, replica) = (who_reads(&db).await, postgres.replica(0).port());
    let stays = i32::from(replica);
    assert_eq!(reader.unwrap(), stays, "no read leaves its node");
    assert!(lag(), "nothing was wrong with the server");
    let count = postgres.primary().psql("select count(*) from event");
    assert_eq!(count.unwrap(), "1");
}

/// As many as the pool has, and more than the tries of a read: however it is asked, it takes one after the other until one works.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_meets_sessions_that_the_server_ended_for_idling_hears_of_none() {
    let postgres = private(0);
    let pool = patient().max(3).max_uses(None).ping_if_idle(None);
    let db = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let select = Statement::from_string(DatabaseBackend::Postgres, "select 1 as n");
    for way in 0..6 {
        let all = join_all((0..3).map(|_| db.begin())).await;
        for tx in all {
            let tx = tx.unwrap();
            let short = "set idle_session_timeout = 50";
            tx.execute_unprepared(short).await.unwrap();
            tx.commit().await.unwrap();
        }
        let idle = "select count(*) from pg_stat_activity where query = 'COMMIT'";
        eventually(LIMIT, || postgres.primary().psql(idle).unwrap() == "0");
        let told = match way {
            0 => db.execute_raw(select.clone()).await.map(drop),
            1 => db.execute_unprepared("select 1").await.map(drop),
            2 => db.query_one_raw(select.clone()).await.map(drop),
            3 => db.query_all_raw(select.clone()).await.map(drop),
            4 => db.stream_raw(select.clone()).await.map(drop),
            _ => db.begin().await.map(drop),
        };
        assert!(told.is_ok(), "way {way}: {told:?}");
    }
}

/// Only a session that the server ends was ended before the statement came.
#[tokio::test]
async fn a_function_that_raises_the_code_of_a_session_that_idled_is_not_run_again() {
    let shop = Shop::open("pool_idled").await;
    let db = alone(&shop, patient().max(3));
    let db = db.connect().await.unwrap();
    let procedure = "create procedure leave() language plpgsql as $$ begin \
        insert into event (name) values ('once'); commit; \
        raise 'left' using errcode = '57P05'; end $$";
    db.execute_unprepared(procedure).await.unwrap();
    let error = db.execute_unprepared("call leave()").await.unwrap_err();
    assert!(error.to_string().contains("left"), "{error}");
    let count: i64 = ask(&db, "select count(*) from event").await.unwrap();
    assert_eq!(count, 1);
}
