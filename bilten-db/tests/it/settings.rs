//! What a setting of the pool does, seen from the server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bilten_db::sea_orm::{ConnectionTrait, Statement, StreamTrait, TransactionTrait};
use bilten_db::{Cluster, Error, PoolConfig};
use bilten_testbed::{eventually, eventually_async};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::fixture::{
    HELD, LIMIT, Shop, ask, builder_for, cluster, hold, is_up, patient, private, serving,
};

/// What may not be waited for in these tests.
const FAR: Duration = Duration::from_secs(3600);

const PID: &str = "select pg_backend_pid()";

/// One connection to the primary, which nothing but the setting at hand replaces.
async fn lone(shop: &Shop, set: impl FnOnce(PoolConfig) -> PoolConfig) -> Cluster {
    let pool = patient().max(1).max_uses(None).max_lifetime(None);
    let pool = pool.idle_timeout(None).ping_if_idle(None);
    let db = cluster().primary(&shop.primary).pool(set(pool));
    db.connect().await.unwrap()
}

#[tokio::test]
async fn a_connection_is_replaced_after_max_lifetime_and_not_before() {
    let shop = Shop::open("set_lifetime").await;
    let lifetime = Duration::from_secs(1);
    let begun = Instant::now();
    let short = lone(&shop, |pool| pool.max_lifetime(lifetime)).await;
    let endless = lone(&shop, |pool| pool).await;
    let before: i32 = ask(&endless, PID).await.unwrap();
    let mut pids = BTreeSet::new();
    while pids.len() < 3 {
        pids.insert(ask::<i32>(&short, PID).await.unwrap());
        assert!(begun.elapsed() < LIMIT, "{pids:?}");
    }
    // The third was opened when two had lived their time.
    assert!(begun.elapsed() >= 2 * lifetime, "{:?}", begun.elapsed());
    let after: i32 = ask(&endless, PID).await.unwrap();
    assert_eq!(after, before, "nothing else replaces a connection");
}

#[tokio::test]
async fn a_connection_keeps_as_many_prepared_statements_as_statement_cache_says() {
    let shop = Shop::open("set_cache").await;
    let kept = async |statements: Option<usize>| {
        let db = lone(&shop, |pool| match statements {
            Some(statements) => pool.statement_cache(statements),
            None => pool,
        });
        let db = db.await;
        for n in 0..40 {
            ask::<i32>(&db, &format!("select {n}")).await.unwrap();
        }
        let sql = "select count(*) from pg_prepared_statements where statement like 'select%'";
        ask::<i64>(&db, sql).await.unwrap()
    };
    // The question is one of them. The driver alone would close none that it does not keep.
    assert_eq!(kept(Some(0)).await, 1);
    assert_eq!(kept(Some(7)).await, 7);
    assert_eq!(kept(None).await, 41, "a hundred by default");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_check_ends_what_nobody_waits_for_on_the_server() {
    let shop = Shop::open("set_check").await;
    let checked = lone(&shop, |pool| pool.client_check(Duration::from_millis(500))).await;
    let plain = lone(&shop, |pool| pool).await;
    let set = "select current_setting('client_connection_check_interval')";
    assert_eq!(ask::<String>(&checked, set).await.unwrap(), "500ms");
    assert_eq!(ask::<String>(&plain, set).await.unwrap(), "0");

    let watcher = lone(&shop, |pool| pool).await;
    let running = async |mark: &str| {
        let sql = format!(
            "select count(*) from pg_stat_activity where state = 'active' \
                and query like '%{mark}' and pid <> pg_backend_pid()"
        );
        ask::<i64>(&watcher, &sql).await.unwrap()
    };
    for (db, mark) in [(&checked, "checked"), (&plain, "plain")] {
        let sql = format!("select pg_sleep(600) is null as {mark}");
        let db = db.clone();
        let left = tokio::spawn(async move { ask::<bool>(&db, &sql).await });
        eventually_async(LIMIT, || async { running(mark).await == 1 }).await;
        left.abort();
    }
    eventually_async(LIMIT, || async { running("checked").await == 0 }).await;
    assert_eq!(running("plain").await, 1, "nobody told its server");
    let end =
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where query like '%plain'";
    ask::<i64>(&watcher, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pools_of_the_replicas_may_be_others_than_that_of_the_primary() {
    let postgres = private(2);
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let pool = patient().max(4).statement_timeout(minutes(4));
    let for_replicas = patient().max(2).statement_timeout(minutes(2));
    let both = builder_for(&postgres).pool(pool.clone());
    let both = both.replica_pool(for_replicas).connect().await.unwrap();
    let same = builder_for(&postgres).pool(pool).connect().await.unwrap();
    let most = |db: &Cluster| {
        let nodes = db.status().nodes;
        nodes.iter().map(|node| node.pool.max).collect::<Vec<_>>()
    };
    assert_eq!((most(&both), most(&same)), (vec![4, 2, 2], vec![4, 4, 4]));
    let set = "select current_setting('statement_timeout')";
    assert_eq!(ask::<String>(&both, set).await.unwrap(), "2min");
    assert_eq!(ask::<String>(&both.primary(), set).await.unwrap(), "4min");
    assert_eq!(ask::<String>(&same, set).await.unwrap(), "4min");

    // It is kept to: of ten reads that are held up, two run on each replica.
    let holders = [
        hold(&postgres.replica(0).url()).await,
        hold(&postgres.replica(1).url()).await,
    ];
    let reads = tokio::spawn({
        let both = both.clone();
        async move { join_all((0..10).map(|_| ask::<i32>(&both, "select held()"))).await }
    });
    let held = |n: usize| postgres.replica(n).psql(HELD).unwrap();
    eventually(LIMIT, || [held(0), held(1)] == ["2", "2"]);
    let sizes: Vec<u32> = both.status().replicas().map(|r| r.pool.size).collect();
    assert_eq!(sizes, [2, 2]);
    drop(holders);
    for read in reads.await.unwrap() {
        read.unwrap();
    }
}

/// Carries connections to a server until it is told not to; those of before go on, new ones are let in and hear nothing.
async fn door(port: i32) -> (SocketAddr, watch::Sender<bool>) {
    let (open, is_open) = watch::channel(true);
    let target = ("127.0.0.1", u16::try_from(port).unwrap());
    let address = serving("127.0.0.1:0", move |mut here| {
        let mut is_open = is_open.clone();
        async move {
            // An error: the test is over.
            let _ = is_open.wait_for(|open| *open).await;
            let mut there = TcpStream::connect(target).await.unwrap();
            let _ended = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        }
    });
    (address.await, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_has_a_budget_of_its_own() {
    let shop = Shop::open("set_connect").await;
    let (address, open) = door(shop.primary_port()).await;
    let (before, database) = shop.primary.rsplit_once('/').unwrap();
    let (user, _) = before.rsplit_once('@').unwrap();
    let url = format!("{user}@{address}/{database}");
    let limit = Duration::from_secs(2);
    let pool = PoolConfig::default()
        .max(8)
        .connect_timeout(limit)
        .acquire_timeout(FAR)
        .query_timeout(FAR);
    let db = cluster().primary(url).pool(pool).connect().await.unwrap();
    // Its probes go on, on their connection of before: nothing but the budget ends a wait here.
    open.send_replace(false);
    let rows = async {
        let all = "select port from numbers";
        let all = Statement::from_string(ConnectionTrait::get_database_backend(&db), all);
        db.stream_raw(all).await?.try_collect::<Vec<_>>().await
    };
    let session = db.session();
    let begun = Instant::now();
    let outcomes = timeout(LIMIT, async {
        tokio::join!(
            ask::<i32>(&db, "select 1"),
            db.execute_unprepared("insert into event (name) values ('a')"),
            ask::<i32>(&session, "select 1"),
            db.begin(),
            rows,
        )
    });
    let (read, write, session, tx, rows) = outcomes.await.expect("not the other budgets");
    let errors = [
        read.unwrap_err(),
        write.unwrap_err(),
        session.unwrap_err(),
        tx.err().unwrap(),
        rows.unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.contains("within connect_timeout (2s)"), "{text}");
        let in_doubt = Error::outcome_is_unknown(&error);
        assert!(!in_doubt, "nothing was sent: {text}");
    }
    assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
    assert!(is_up(&db, "primary"), "its probes are answered");
    open.send_replace(true);
    assert_eq!(ask::<i32>(&db, "select 7").await.unwrap(), 7);
}
