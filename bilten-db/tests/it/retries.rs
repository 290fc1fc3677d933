use std::time::{Duration, Instant};

use bilten_db::retry::{HedgeConfig, RetryConfig};
use bilten_db::scope::{Freshness, with_deadline, with_freshness};
use bilten_db::sea_orm::{
    ConnectionTrait, DatabaseBackend, DbErr, Statement, StreamTrait, TransactionTrait,
};
use bilten_db::status::{NodeStatus, Rotation};
use bilten_db::{Cluster, ClusterBuilder, Error, PoolConfig};
use bilten_testbed::{Direction, FaultProxy, Postgres, PostgresNode, eventually_async};
use tokio::time::timeout;

use crate::fixture::{
    LIMIT, Shop, ask, builder_for, hold, port, private, tally, until_open, until_up, who_reads,
};

/// Ends the statements of the test on a replica; those that are terminated their clients see as a lost connection.
fn ended(postgres: &Postgres, replica: usize, end: &str) -> usize {
    let sql =
        format!("select count({end}(pid)) from pg_stat_activity where wait_event = 'PgSleep'");
    postgres
        .replica(replica)
        .psql(&sql)
        .unwrap()
        .parse()
        .unwrap()
}

/// Ends one read in the middle, and what becomes of it elsewhere by another word. Returns what its caller gets.
async fn cut_read(postgres: &Postgres, db: &Cluster) -> String {
    let read = tokio::spawn({
        let db = db.clone();
        async move { ask::<bool>(&db, "select pg_sleep(600) is null").await }
    });
    let on_any = |end| (0..2).any(|n| ended(postgres, n, end) > 0);
    eventually_async(LIMIT, || async { on_any("pg_terminate_backend") }).await;
    let is_over = || async {
        on_any("pg_cancel_backend");
        read.is_finished()
    };
    eventually_async(LIMIT, is_over).await;
    read.await.unwrap().unwrap_err().to_string()
}

const CUT: &str = "terminating connection";
const CANCELLED: &str = "canceling statement due to user request";

#[tokio::test(flavor = "multi_thread")]
async fn second_tries_end_with_their_budget() {
    let postgres = private(2);
    let retry = RetryConfig::default().percent(0).reserve(1);
    let db = builder_for(&postgres).retry(retry).connect().await.unwrap();
    let error = cut_read(&postgres, &db).await;
    assert!(
        error.contains(CANCELLED),
        "the first goes elsewhere: {error}"
    );
    let error = cut_read(&postgres, &db).await;
    assert!(error.contains(CUT), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_second_tries_what_was_never_sent_still_goes_elsewhere() {
    let postgres = private(2);
    let retry = RetryConfig::off();
    let db = builder_for(&postgres).retry(retry).connect().await.unwrap();
    let error = cut_read(&postgres, &db).await;
    assert!(error.contains(CUT), "{error}");
    until_up(&db, "r1", true).await;
    until_up(&db, "r2", true).await;
    // Before anything noticed: its first read meets a refused connection.
    let fresh = builder_for(&postgres).retry(retry).connect().await.unwrap();
    postgres.replica(0).kill().unwrap();
    let alive = port(postgres.replica(1));
    assert_eq!(
        tally(&fresh, 4).await.keys().copied().collect::<Vec<_>>(),
        [alive]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_bounds_all_tries_together_and_gives_the_connection_back() {
    let shop = Shop::open("deadline").await;
    let limit = Duration::from_millis(300);
    let db = shop.builder().deadline(limit).connect().await.unwrap();
    let sleep = "select pg_sleep(60) is null";
    let begun = Instant::now();
    let session = db.session();
    for outcome in [ask::<bool>(&db, sleep).await, ask(&session, sleep).await] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("deadline of 300ms"), "{error}");
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    eventually_async(LIMIT, || async {
        let status = db.status();
        let idle = |n: &NodeStatus| n.in_flight == 0 && n.pool.size == n.pool.idle;
        status.nodes.iter().all(idle)
    })
    .await;
    tally(&db, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_of_a_task_is_shared_by_its_calls() {
    let shop = Shop::open("deadline_task").await;
    let db = shop.connect().await;
    until_open(&db).await;
    let outcome = with_deadline(Duration::from_secs(5), async {
        ask::<bool>(&db, "select pg_sleep(0.1) is null")
            .await
            .unwrap();
        let write = "select pg_sleep(60), pg_advisory_lock(1)";
        let slow = Statement::from_string(ConnectionTrait::get_database_backend(&db), write);
        let first = db.execute_raw(slow).await.unwrap_err().to_string();
        (first, who_reads(&db).await.unwrap_err().to_string())
    });
    let (first, second) = outcome.await;
    assert!(first.contains("deadline of 5s"), "{first}");
    assert!(
        second.contains("deadline of 5s"),
        "no time was left: {second}"
    );
    tally(&db, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_answers_for_a_slow_replica_within_its_budget() {
    let postgres = private(2);
    // So long that a busy machine hedges no quick read.
    let delay = Duration::from_secs(2);
    let hedge = HedgeConfig::after(delay).percent(0).reserve(3);
    let db = builder_for(&postgres).hedge(hedge).connect().await.unwrap();
    let warm = (0..20).map(|_| ask::<bool>(&db, "select pg_sleep(0.02) is null"));
    futures_util::future::join_all(warm).await;
    // Takes eight seconds on the first replica only, and answers with the port of the server.
    let [slow, quick] = [0, 1].map(|n| port(postgres.replica(n)));
    let sql = format!(
        "select inet_server_port() + (pg_sleep(case inet_server_port() when {slow} then 8 else 0 end) is null)::int"
    );
    // All at once: afterwards the slow replica is known, and left alone while the other has a connection to spare.
    let read = async || {
        let begun = Instant::now();
        let from: i32 = ask(&db, &sql).await.unwrap();
        (from, begun.elapsed() >= delay)
    };
    let begun = Instant::now();
    let answers = futures_util::future::join_all((0..20).map(|_| read())).await;
    let of = |answer| answers.iter().filter(|found| **found == answer).count();
    let (hedged, waited) = (of((quick, true)), of((slow, true)));
    // The reserve fills up by one in three seconds.
    let most = 4 + usize::try_from(begun.elapsed().as_secs() / 3).unwrap();
    assert!((1..=most).contains(&hedged), "3 hedges, but {answers:?}");
    assert!(waited > 0, "the others wait: {answers:?}");
    assert_eq!(ask::<i32>(&db, &sql).await.unwrap(), quick, "passed over");
    eventually_async(LIMIT, || async {
        let status = db.status();
        let idle = |n: &NodeStatus| n.in_flight == 0 && n.pool.size == n.pool.idle;
        status.nodes.iter().all(idle)
    })
    .await;
    for _ in 0..20 {
        let right: bool = ask(&db, "select true").await.unwrap();
        assert!(right, "no connection is out of step");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_the_loser_of_a_hedge() {
    let postgres = private(2);
    let hedge = HedgeConfig::after(Duration::from_millis(20));
    let db = builder_for(&postgres).hedge(hedge).connect().await.unwrap();
    // Sleeps for ten minutes on the first replica only.
    let running = "select count(*) from pg_stat_activity where query like '%loser%' and state = 'active' and pid <> pg_backend_pid()";
    let slow_here = postgres.replica(0).port();
    let sql = format!(
        "select pg_sleep(case inet_server_port() when {slow_here} then 600 else 0 end) is null as loser"
    );
    for _ in 0..6 {
        let begun = Instant::now();
        ask::<bool>(&db, &sql).await.unwrap();
        assert!(begun.elapsed() < LIMIT);
    }
    eventually_async(LIMIT, || async {
        postgres.replica(0).psql(running).unwrap() == "0"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_that_keeps_a_demand_is_answered_by_the_replica_that_was_asked() {
    let postgres = private(2);
    let hedge = HedgeConfig::after(Duration::from_millis(50)).percent(100);
    let db = builder_for(&postgres).hedge(hedge).connect().await.unwrap();
    let is_known = |n: &NodeStatus| n.lag.is_some();
    eventually_async(LIMIT, || async { db.status().replicas().all(is_known) }).await;
    tally(&db, 20).await;
    postgres.replica(0).pause().unwrap();
    let minute = Freshness::MaxLag(Duration::from_secs(60));
    // One of them begins on the replica that is frozen, unless that was found out already.
    for _ in 0..2 {
        let from = with_freshness(minute, who_reads(&db)).await.unwrap();
        assert_eq!(from, port(postgres.replica(1)));
    }
}

/// Ends what is held up on a node, whose clients see a lost connection.
fn cut_held(node: &PostgresNode) -> usize {
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'advisory'";
    node.psql(sql).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_two_replicas_lose_is_answered_by_the_primary() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    until_open(&db).await;
    let nodes = postgres.replicas();
    let holders = [hold(&nodes[0].url()).await, hold(&nodes[1].url()).await];
    let read = tokio::spawn({
        let db = db.clone();
        async move { ask::<i32>(&db, "select held()").await }
    });
    let mut lost = Vec::new();
    let begun = Instant::now();
    while !read.is_finished() {
        for (n, node) in nodes.iter().enumerate() {
            lost.extend(vec![n; cut_held(node)]);
        }
        assert!(begun.elapsed() < LIMIT, "{lost:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read.await.unwrap().unwrap(), port(postgres.primary()));
    lost.sort_unstable();
    assert_eq!(lost, [0, 1], "each was asked once");
    drop(holders);
}

/// Each kind of call, and its error.
async fn errors_of_each_call(db: &Cluster) -> Vec<(&'static str, Option<DbErr>)> {
    let insert = "insert into event (name) values ('a')";
    let one = Statement::from_string(DatabaseBackend::Postgres, "select 1");
    let session = db.session();
    vec![
        ("read", who_reads(db).await.err()),
        ("write", db.execute_unprepared(insert).await.err()),
        ("begin", db.begin().await.err()),
        ("stream", db.stream_raw(one).await.err()),
        ("session", who_reads(&session).await.err()),
        (
            "session that writes",
            session.execute_unprepared(insert).await.err(),
        ),
        ("session that wrote", who_reads(&session).await.err()),
    ]
}

/// Every limit of the pool is far, and the nodes are asked whatever is known of them.
async fn with_deadline_alone(builder: ClusterBuilder, limit: Duration) -> Cluster {
    let far = 10 * LIMIT;
    let pool = PoolConfig::default()
        .connect_timeout(far)
        .acquire_timeout(far)
        .query_timeout(far);
    let builder = builder.pool(pool).require_primary(false).deadline(limit);
    let db = timeout(LIMIT, builder.connect()).await.unwrap().unwrap();
    db.order("r1", Rotation::In).unwrap();
    db
}

/// Invariant: whatever is wrong with the hosts, no call takes longer than its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_kept_whatever_is_wrong_with_the_hosts() {
    let limit = Duration::from_millis(300);
    let cluster_of = |[primary, replica]: [String; 2]| {
        let nodes = Cluster::builder().primary(primary).replica("r1", replica);
        with_deadline_alone(nodes, limit)
    };
    // A name that is not there, and a port on which nobody listens.
    let nowhere = "postgres://app@no-such-host.invalid/shop".to_owned();
    let unknown = cluster_of([nowhere.clone(), nowhere]).await;
    let closed = "postgres://app@127.0.0.1:1/shop".to_owned();
    let refused = cluster_of([closed.clone(), closed]).await;
    // Servers that die, and servers that nobody hears any more.
    let [mortal, mute] = [private(1), private(1)];
    let [mortals, mutes] =
        [&mortal, &mute].map(|postgres| [postgres.primary(), postgres.replica(0)]);
    let proxies = mutes.map(|node| FaultProxy::to_blocking(node.addr()).unwrap());
    let through = [0, 1].map(|n: usize| proxies[n].url_like(&mutes[n].url()).unwrap());
    let dead = cluster_of(mortals.map(PostgresNode::url)).await;
    let silent = cluster_of(through).await;
    for db in [&dead, &silent] {
        let reads = || async { who_reads(db).await.is_ok() };
        eventually_async(LIMIT, reads).await;
    }
    mortals.iter().for_each(|node| node.kill().unwrap());
    let silence = |proxy: &FaultProxy| proxy.blackhole(Direction::Both);
    proxies.iter().for_each(silence);

    for (db, kind) in [
        (&unknown, "unknown"),
        (&refused, "refused"),
        (&dead, "dead"),
        (&silent, "silent"),
    ] {
        let calls = timeout(LIMIT, errors_of_each_call(db)).await;
        for (call, error) in calls.expect(kind) {
            let error = error.unwrap_or_else(|| panic!("{call}: {kind}"));
            assert!(!error.to_string().is_empty(), "{call}: {kind}");
        }
    }
    // Who says nothing at all is waited for until then, and no longer.
    let begun = Instant::now();
    for call in 0..7 {
        loop {
            let (name, error) = errors_of_each_call(&silent).await.swap_remove(call);
            let error = error.unwrap_or_else(|| panic!("{name}"));
            match Error::of(&error) {
                Some(Error::Deadline { limit: told, .. }) if *told == limit => break,
                _ => assert!(begun.elapsed() < LIMIT, "{name}: {error}"),
            }
        }
    }
}
