use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use bilten_db::sea_orm::{AccessMode, ConnectionTrait, EntityTrait, TransactionTrait};
use bilten_db::status::{Role, Rotation, State};
use bilten_db::{Cluster, ClusterBuilder, Error, PageExt, PageRequest, Replica};
use bilten_testbed::{Direction, FaultProxy, Postgres, eventually_async};
use futures_util::FutureExt;
use tokio::task::JoinHandle;

use crate::fixture::{
    HELD, LIMIT, Shop, ask, builder_for, cluster, event, hold, limited, patient, port, private,
    serving, tally, until_open, until_up, who_reads,
};
use crate::given_up::given_up_after;

/// Reads that keep the replicas busy for as long as they are held up, or until they are given up.
fn held_reads(db: &Cluster, count: usize) -> Vec<JoinHandle<bool>> {
    let read = |db: Cluster| async move { ask::<i32>(&db, "select held()").await.is_ok() };
    (0..count).map(|_| tokio::spawn(read(db.clone()))).collect()
}

async fn until_running(db: &Cluster, id: &str, statements: u32) {
    eventually_async(LIMIT, || async {
        let status = db.status();
        status
            .nodes
            .iter()
            .any(|n| n.id == id && n.in_flight == statements)
    })
    .await;
}

/// Waits until the first replica works on so many of them; one that waits for a connection is not there yet.
async fn until_held(postgres: &Postgres, reads: u32) {
    eventually_async(LIMIT, || async {
        postgres.replica(0).psql(HELD).unwrap() == reads.to_string()
    })
    .await;
}

/// Connections of the clients of all nodes, our probes included.
fn sessions_on(postgres: &Postgres) -> usize {
    let sql = "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    let nodes = postgres.replicas().iter().chain([postgres.primary()]);
    let each = nodes.map(|node| node.psql(sql).unwrap().parse::<usize>().unwrap());
    each.sum()
}

#[tokio::test]
async fn a_replica_added_at_run_time_takes_its_share() {
    let shop = Shop::open("add").await;
    let db = cluster()
        .primary(&shop.primary)
        .replica("r1", &shop.replicas[0])
        .connect()
        .await
        .unwrap();
    let ports = shop.replica_ports();
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(ports[0], 10)]));
    db.add_replica("r2", &shop.replicas[1]).await.unwrap();
    until_open(&db).await;
    assert_eq!(
        tally(&db, 20).await,
        BTreeMap::from([(ports[0], 10), (ports[1], 10)])
    );
    for (id, problem) in [
        ("r2", "is taken"),
        ("primary", "is taken"),
        ("", "is empty"),
    ] {
        let error = db.add_replica(id, &shop.replicas[1]).await.unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
    let other = Replica::new("sqlite::memory:");
    let error = db.add_replica("r3", other).await.unwrap_err().to_string();
    assert!(error.contains("r3"), "{error}");
    assert_eq!(db.status().nodes.len(), 3, "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_joins_gets_no_read_before_a_good_probe_and_its_connections() {
    let postgres = private(3);
    let proxy = FaultProxy::to_blocking(postgres.replica(2).addr()).unwrap();
    let through = proxy.url_like(&postgres.replica(2).url()).unwrap();
    let pool = patient().min(3).connect_timeout(Duration::from_secs(4));
    let first_two = |builder: ClusterBuilder, n: usize| {
        builder.replica(format!("r{}", n + 1), postgres.replica(n).url())
    };
    let db = (0..2)
        .fold(cluster().primary(postgres.primary().url()), first_two)
        .pool(pool)
        .connect()
        .await
        .unwrap();
    // It takes connections and answers nothing, while others read.
    proxy.blackhole(Direction::Both);
    let (added, during) = tokio::join!(db.add_replica("r3", &through), tally(&db, 60));
    added.unwrap();
    let third = port(postgres.replica(2));
    for shares in [during, tally(&db, 60).await] {
        assert!(!shares.contains_key(&third), "{shares:?}");
    }
    let mut status = db.watch();
    proxy.heal();
    let joined = status.wait_for(|status| status.nodes[3].is_up());
    let joined = tokio::time::timeout(LIMIT, joined)
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert!(joined.nodes[3].pool.size >= 3, "{:?}", joined.nodes[3]);
    let shares = tally(&db, 60).await;
    assert!(shares.values().eq([&20, &20, &20]), "{shares:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_added_while_it_is_away_joins_when_it_is_back() {
    let postgres = private(2);
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("r1", postgres.replica(0).url())
        .connect()
        .await
        .unwrap();
    postgres.replica(1).stop().unwrap();
    db.add_replica("r2", postgres.replica(1).url())
        .await
        .unwrap();
    assert_eq!(db.status().replicas().nth(1).unwrap().state, State::Ejected);
    let first = port(postgres.replica(0));
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(first, 10)]));
    postgres.replica(1).restart().unwrap();
    until_up(&db, "r2", true).await;
    until_open(&db).await;
    assert_eq!(tally(&db, 10).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_replica_ends_its_work_and_gets_no_more() {
    let shop = Shop::open("remove").await;
    let db = shop.connect().await;
    let holders = [hold(&shop.replicas[0]).await, hold(&shop.replicas[1]).await];
    let reads = held_reads(&db, 20);
    until_running(&db, "r1", 10).await;
    let removed = tokio::spawn({
        let db = db.clone();
        async move { db.remove_replica("r1", LIMIT).await }
    });
    eventually_async(LIMIT, || async { db.status().nodes.len() == 2 }).await;
    let second = shop.replica_ports()[1];
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(second, 10)]));
    assert!(!removed.is_finished(), "what runs there may end");
    drop(holders);
    assert!(
        removed.await.unwrap().unwrap(),
        "everything ended by itself"
    );
    for read in reads {
        assert!(read.await.unwrap(), "what ran there has its answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_drain_is_given_up_and_reads_go_elsewhere() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    let [first, second] = [postgres.replica(0).url(), postgres.replica(1).url()];
    let _held = hold(&first).await;
    let holder = hold(&second).await;
    let reads = held_reads(&db, 4);
    until_running(&db, "r1", 2).await;
    let drained = db.remove_replica("r1", Duration::from_millis(300)).await;
    assert!(!drained.unwrap(), "nothing ends there by itself");
    drop(holder);
    for read in reads {
        assert!(read.await.unwrap(), "a read given up runs again elsewhere");
    }
    let error = db
        .remove_replica("r1", LIMIT)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not in this cluster"), "{error}");
    let error = db.remove_replica("primary", LIMIT).await.unwrap_err();
    assert!(error.to_string().contains("is the primary"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_replica_is_quiet_until_it_is_ordered_back() {
    let shop = Shop::open("drain").await;
    let db = shop.connect().await;
    let read_only = Some(AccessMode::ReadOnly);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(db.begin_with_config(None, read_only).await.unwrap());
    }
    let drained = db.drain("r1", Duration::from_millis(200)).await.unwrap();
    assert!(!drained, "a transaction is still open there");
    let second = shop.replica_ports()[1];
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(second, 10)]));
    for tx in held {
        tx.commit().await.unwrap();
    }
    assert!(db.drain("r1", LIMIT).await.unwrap());
    let first = db.status().replicas().next().unwrap().clone();
    assert_eq!((first.state, first.rotation), (State::Out, Rotation::Out));
    db.order("r1", Rotation::Auto).unwrap();
    assert_eq!(tally(&db, 10).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_leaves_a_drained_replica_for_the_primary() {
    let shop = Shop::open("drain_session").await;
    let db = shop.connect().await;
    let session = db.session();
    who_reads(&session).await.unwrap();
    let node = session.node().unwrap();
    assert!(db.drain(&node, LIMIT).await.unwrap());
    assert_eq!(who_reads(&session).await.unwrap(), shop.primary_port());
    db.order(&node, Rotation::Auto).unwrap();
    assert_eq!(who_reads(&session).await.unwrap(), shop.primary_port());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ordered_in_is_asked_even_while_it_lags() {
    let postgres = private(1);
    let limit = Duration::from_millis(1);
    let db = limited(&postgres, limit).await;
    postgres.replica(0).pause_replay().unwrap();
    let write = "insert into event (name) select 'a' from generate_series(1, 100)";
    eventually_async(LIMIT, || async {
        db.execute_unprepared(write).await.unwrap();
        db.status().replicas().next().unwrap().state == State::Lagging
    })
    .await;
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    assert_eq!(who_reads(&db).await.unwrap(), primary);
    db.order("r1", Rotation::In).unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), replica);
    db.order("r1", Rotation::Auto).unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ordered_in_while_it_is_dead_costs_no_reader_an_error() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.replica(0).kill().unwrap();
    until_up(&db, "r1", false).await;
    db.order("r1", Rotation::In).unwrap();
    let alive = port(postgres.replica(1));
    assert_eq!(tally(&db, 10).await, BTreeMap::from([(alive, 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_hear_of_each_change() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let mut status = db.watch();
    let mut until = async |fits: &dyn Fn(&bilten_db::status::ClusterStatus) -> bool| {
        let heard = tokio::time::timeout(LIMIT, status.wait_for(|status| fits(status)));
        drop(heard.await.expect("the change is told").unwrap());
    };
    let first = |state| {
        move |status: &bilten_db::status::ClusterStatus| {
            status
                .replicas()
                .next()
                .is_some_and(|node| node.state == state)
        }
    };
    until(&first(State::Up)).await;
    db.order("r1", Rotation::Out).unwrap();
    until(&first(State::Out)).await;
    db.order("r1", Rotation::Auto).unwrap();
    until(&first(State::Up)).await;
    postgres.replica(0).kill().unwrap();
    until(&first(State::Ejected)).await;
    postgres.replica(0).restart().unwrap();
    until(&first(State::Up)).await;
    postgres.primary().kill().unwrap();
    postgres.replica(0).promote().unwrap();
    until(&|status| {
        let primary = status.primary();
        primary.id == "r1" && primary.role == Role::Primary
    })
    .await;
    assert!(db.remove_replica("primary", Duration::ZERO).await.is_ok());
    until(&|status| status.nodes.len() == 1).await;
}

#[tokio::test]
async fn who_watches_a_closed_cluster_hears_of_the_end() {
    let db = Cluster::builder().primary("sqlite::memory:");
    let db = db.connect().await.unwrap();
    let mut status = db.watch();
    let watching = async { while status.changed().await.is_ok() {} };
    db.close().await;
    tokio::time::timeout(LIMIT, watching)
        .await
        .expect("it ends");
    assert_eq!(db.watch().borrow().nodes.len(), 1, "what was told last");
}

#[tokio::test(flavor = "multi_thread")]
async fn close_under_load_leaves_no_session_on_the_server() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let holder = hold(&postgres.replica(0).url()).await;
    let reads = held_reads(&db, 4);
    until_held(&postgres, 4).await;
    db.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
    assert!(sessions_on(&postgres) > 0);
    let mut closing = pin!(db.close_within(LIMIT));
    assert!((&mut closing).now_or_never().is_none(), "it waits");
    drop(holder);
    assert!(closing.await, "what runs may end");
    for read in reads {
        assert!(
            read.await.unwrap(),
            "what ran before the end has its answer"
        );
    }
    for outcome in [
        who_reads(&db).await.map(drop),
        who_reads(&db.session()).await.map(drop),
        db.begin().await.map(drop),
        db.execute_unprepared("insert into event (name) values ('b')")
            .await
            .map(drop),
    ] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("the cluster was closed"), "{error}");
    }
    eventually_async(LIMIT, || async { sessions_on(&postgres) == 0 }).await;
}

#[tokio::test]
async fn a_replica_whose_joining_was_given_up_is_not_there() {
    let shop = Shop::open("add_given_up").await;
    let db = cluster().primary(&shop.primary);
    let db = db.connect().await.unwrap();
    for polls in 1..8 {
        let joining = db.add_replica("r1", &shop.replicas[0]);
        let added = given_up_after(polls, joining).await.is_some();
        assert_eq!(db.status().nodes.len(), 1 + usize::from(added), "{polls}");
        if added {
            db.remove_replica("r1", LIMIT).await.unwrap();
        }
    }
    db.add_replica("r1", &shop.replicas[0]).await.unwrap();
    let first = shop.replica_ports()[0];
    assert_eq!(tally(&db, 5).await, BTreeMap::from([(first, 5)]));
}

#[tokio::test]
async fn a_closed_cluster_takes_no_replica() {
    let shop = Shop::open("add_closed").await;
    // Nobody waits for more of the silent one than this.
    let pool = patient().connect_timeout(Duration::from_secs(2));
    let db = cluster().primary(&shop.primary).pool(pool);
    let db = db.connect().await.unwrap();
    // It answers nothing, so the cluster is closed before it is looked at.
    let silent = serving("127.0.0.1:0", |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let url = format!("postgres://app@{silent}/shop");
    let (added, ()) = tokio::join!(db.add_replica("r1", url), db.close());
    assert!(matches!(added, Err(Error::Closed)), "{added:?}");
    let added = db.add_replica("r2", &shop.replicas[0]).await;
    assert!(matches!(added, Err(Error::Closed)), "{added:?}");
    let drained = db.drain("r1", LIMIT).await;
    assert!(matches!(drained, Err(Error::Closed)), "{drained:?}");
    let removed = db.remove_replica("r1", LIMIT).await;
    assert!(matches!(removed, Err(Error::Closed)), "{removed:?}");
    assert_eq!(db.status().replicas().count(), 0);
    let page = event::Entity::find()
        .page(&db, PageRequest::new(1, 5))
        .await;
    assert!(
        matches!(page, Err(Error::Closed)),
        "the cause, not its wrapping"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn close_waits_no_longer_than_its_limit() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let _held = hold(&postgres.replica(0).url()).await;
    let reads = held_reads(&db, 2);
    until_held(&postgres, 2).await;
    assert!(!db.close_within(Duration::from_millis(100)).await);
    for read in reads {
        assert!(
            !read.await.unwrap(),
            "no other node may answer after the end"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn close_does_not_wait_for_a_transaction_that_nobody_ends() {
    let shop = Shop::open("ops_close_tx").await;
    let db = shop.connect().await;
    let tx = db.begin().await.unwrap();
    let begun = Instant::now();
    assert!(!db.close_within(Duration::from_millis(100)).await);
    let took = begun.elapsed();
    // Whoever ends it would wait for this test.
    assert!(took < LIMIT, "{took:?}");
    tx.rollback().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_primary_the_start_fails_unless_told_otherwise() {
    let postgres = private(1);
    postgres.primary().kill().unwrap();
    builder_for(&postgres).connect().await.unwrap_err();
    let built = builder_for(&postgres).require_primary(false).connect();
    let db = built.await.unwrap();
    assert_eq!(who_reads(&db).await.unwrap(), port(postgres.replica(0)));
    assert!(!db.status().primary().is_up());
    let write = || db.execute_unprepared("insert into event (name) values ('a')");
    let error = write().await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    postgres.primary().restart().unwrap();
    until_up(&db, "primary", true).await;
    write().await.unwrap();
}

#[tokio::test]
async fn an_order_may_be_given_by_whoever_holds_the_status() {
    let shop = Shop::open("ops_held").await;
    let db = shop.connect().await;
    let mut status = db.watch();
    let (done, ended) = std::sync::mpsc::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::spawn({
        let (db, status) = (db.clone(), status.clone());
        move || {
            let _inside = runtime.enter();
            let held = status.borrow();
            db.order("r1", Rotation::Out).unwrap();
            drop(held);
            done.send(()).unwrap();
        }
    });
    let waited = tokio::task::spawn_blocking(move || ended.recv_timeout(LIMIT));
    waited.await.unwrap().expect("the thread hangs");
    let told = status.wait_for(|status| status.nodes[1].state == State::Out);
    tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
}
