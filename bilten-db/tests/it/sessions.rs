use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bilten_db::scope::{Freshness, with_freshness};
use bilten_db::sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, LoaderTrait,
    PaginatorTrait, QueryFilter, QueryOrder, TransactionTrait,
};
use bilten_db::{Cluster, Error, Fallback, PageExt, PageRequest, Token};
use bilten_testbed::{Direction, FaultProxy, Postgres, eventually, eventually_async};
use futures_util::future::join_all;

use crate::fixture::{
    LIMIT, Shop, ask, builder_for, cluster, event, numbers, patient, place, port, prepared,
    private, until_open, until_up, who_reads,
};

fn named(name: String) -> event::ActiveModel {
    event::ActiveModel {
        name: Set(name),
        ..Default::default()
    }
}

/// Replicas show each commit a fifth of a second late.
pub(crate) fn delayed() -> Postgres {
    let late = Postgres::builder()
        .replicas(2)
        .setting("recovery_min_apply_delay", "200ms");
    prepared(late.start().unwrap())
}

async fn is_there(db: &impl ConnectionTrait, id: i32) -> bool {
    event::Entity::find_by_id(id)
        .one(db)
        .await
        .unwrap()
        .is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_never_misses_its_own_write_where_plain_reads_do() {
    let postgres = delayed();
    let db = builder_for(&postgres).connect().await.unwrap();
    let (mut missed_plain, mut missed_session, mut missed_next) = (0, 0, 0);
    for n in 0..1_000 {
        let session = db.session();
        let id = named(format!("{n}")).insert(&session).await.unwrap().id;
        missed_session += usize::from(!is_there(&session, id).await);
        missed_plain += usize::from(!is_there(&db, id).await);
        if n % 10 == 0 {
            // Text, as it would travel to another process.
            let token: Token = session
                .token()
                .await
                .unwrap()
                .unwrap()
                .to_string()
                .parse()
                .unwrap();
            missed_next += usize::from(!is_there(&db.session_with(token), id).await);
        }
    }
    assert_eq!((missed_session, missed_next), (0, 0));
    assert!(
        missed_plain > 0,
        "the test proves nothing: no plain read missed anything"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_without_waiting_for_the_disk_is_honoured_too() {
    let postgres = prepared(
        Postgres::builder()
            .replicas(2)
            .setting("synchronous_commit", "off")
            .start()
            .unwrap(),
    );
    let db = builder_for(&postgres).connect().await.unwrap();
    let write_and_find = async |n: usize| {
        let session = db.session();
        let id = named(format!("{n}")).insert(&session).await.unwrap().id;
        let token = session.token().await.unwrap().unwrap();
        let next = db.session_with(token).wait(LIMIT);
        assert!(is_there(&next, id).await, "write {n} was missed");
        next.node()
    };
    // Each waits for the log to reach a replica, so many do it at once.
    let mut by_replicas = 0;
    for round in 0..15 {
        let answered = join_all((0..20).map(|n| write_and_find(20 * round + n))).await;
        let replicas = answered.iter().flatten().filter(|node| *node != "primary");
        by_replicas += replicas.count();
    }
    assert!(by_replicas > 0, "the primary alone proves nothing");
}

/// The servers that answered for a parent and for its children, which a loader asks for with a second statement.
async fn parent_and_child(db: &impl ConnectionTrait) -> (i32, i32) {
    let parents = place::Entity::find().all(db).await.unwrap();
    let children = parents.load_many(numbers::Entity, db).await.unwrap();
    (parents[0].port, children[0][0].port)
}

#[tokio::test]
async fn a_loader_in_a_session_reads_children_where_it_read_the_parents() {
    let shop = Shop::open("session_loader").await;
    let db = shop.connect().await;
    until_open(&db).await;
    let (parent, child) = parent_and_child(&db).await;
    assert_ne!(
        parent, child,
        "without a session they come from two states of the data"
    );
    let mut servers = BTreeSet::new();
    for _ in 0..8 {
        let (parent, child) = parent_and_child(&db.session()).await;
        assert_eq!(parent, child);
        servers.insert(parent);
    }
    assert_eq!(servers, shop.replica_ports().into_iter().collect());
}

#[tokio::test]
async fn a_session_reads_from_one_replica_until_it_writes() {
    let shop = Shop::open("session_pin").await;
    let db = shop.connect().await;
    let session = db.session();
    assert_eq!(session.node(), None);
    let first = who_reads(&session).await.unwrap();
    assert!(shop.replica_ports().contains(&first));
    for _ in 0..10 {
        assert_eq!(who_reads(&session).await.unwrap(), first);
    }
    let page = numbers::Entity::find()
        .page(&session, PageRequest::new(1, 5))
        .await
        .unwrap();
    assert_eq!(page.items[0].port, first);
    assert!(!session.wrote());
    assert_eq!(
        session.token().await.unwrap(),
        None,
        "a session that only read has no token"
    );

    named("a".into()).insert(&session).await.unwrap();
    assert_eq!(who_reads(&session).await.unwrap(), shop.primary_port());
    assert_eq!(session.node().as_deref(), Some("primary"));
    assert!(session.token().await.unwrap().is_some());
}

#[tokio::test]
async fn a_transaction_rolled_back_and_a_failed_write_count_as_writes() {
    let shop = Shop::open("session_rollback").await;
    let db = shop.connect().await;
    let session = db.session();
    session.begin().await.unwrap().rollback().await.unwrap();
    assert!(session.token().await.unwrap().is_some());
    let session = db.session();
    session
        .execute_unprepared("insert into no_such_table values (1)")
        .await
        .unwrap_err();
    assert!(session.wrote());
    let session = db.session();
    let hidden: i32 = ask(&session, "select hidden_write()").await.unwrap();
    assert_eq!(hidden, shop.primary_port());
    assert!(session.wrote(), "a write that was found out is a write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_waited_for_within_the_budget_and_then_the_primary_answers() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.replica(0).pause_replay().unwrap();
    let session = db.session();
    let id = named("late".into()).insert(&session).await.unwrap().id;
    let token = session.token().await.unwrap().unwrap();

    let begun = Instant::now();
    let next = db.session_with(token).wait(Duration::from_millis(50));
    assert!(is_there(&next, id).await);
    // Replay is paused: a wait without a budget would never end.
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert_eq!(who_reads(&next).await.unwrap(), port(postgres.primary()));

    // Once it has caught up, the replica serves.
    postgres.replica(0).resume_replay().unwrap();
    postgres.wait_for_replicas().unwrap();
    let next = db.session_with(token).wait(LIMIT);
    assert!(is_there(&next, id).await);
    assert_eq!(who_reads(&next).await.unwrap(), port(postgres.replica(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_sessions_token_and_its_tasks_the_later_one_counts() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let writer = db.session();
    named("early".into()).insert(&writer).await.unwrap();
    let early = writer.token().await.unwrap().unwrap();
    postgres.wait_for_replicas().unwrap();
    let session = db.session_with(early).wait(LIMIT);
    assert_eq!(
        who_reads(&session).await.unwrap(),
        port(postgres.replica(0))
    );

    postgres.replica(0).pause_replay().unwrap();
    let writer = db.session();
    let id = named("late".into()).insert(&writer).await.unwrap().id;
    let late = writer.token().await.unwrap().unwrap();
    // In vain: one replica there is, and it stands still.
    let session = db.session_with(early).wait(Duration::from_millis(100));
    let read = is_there(&session, id);
    assert!(with_freshness(Freshness::AtLeast(late), read).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_seconds_away_costs_no_more_than_the_budget() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.replica(0).pause_replay().unwrap();
    let session = db.session();
    let id = named("late".into()).insert(&session).await.unwrap().id;
    let token = session.token().await.unwrap().unwrap();
    let five_seconds = Duration::from_secs(5);
    let lags = |r: &bilten_db::status::NodeStatus| r.lag.is_some_and(|lag| lag > five_seconds);
    eventually(LIMIT, || db.status().replicas().all(lags));
    // Waiting for it each time would take three minutes.
    let begun = Instant::now();
    for _ in 0..60 {
        let next = db.session_with(token).wait(Duration::from_secs(3));
        assert!(is_there(&next, id).await);
        assert_eq!(next.node().as_deref(), Some("primary"));
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_come_near_is_waited_for_no_longer_than_the_budget() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    eventually(LIMIT, || db.status().replicas().all(|r| r.lag.is_some()));
    postgres.replica(0).pause_replay().unwrap();
    let session = db.session();
    let id = named("late".into()).insert(&session).await.unwrap().id;
    let token = session.token().await.unwrap().unwrap();
    let budget = Duration::from_millis(50);
    let begun = Instant::now();
    let next = db.session_with(token).wait(budget);
    assert!(is_there(&next, id).await);
    assert_eq!(next.node().as_deref(), Some("primary"));
    let took = begun.elapsed();
    assert!(took >= budget && took < LIMIT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_session_show_what_it_wrote() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.replica(0).pause_replay().unwrap();
    let session = db.session();
    let rows = (1..=45).map(|n| named(format!("{n:02}")));
    let written = event::Entity::insert_many(rows).exec(&session).await;
    written.unwrap();
    let token = session.token().await.unwrap().unwrap();

    let next = db.session_with(token);
    for pager in [&session, &next] {
        let mut seen = Vec::new();
        for number in 1..=3 {
            let query = event::Entity::find().order_by_asc(event::Column::Name);
            let page = query.page(pager, PageRequest::new(number, 20)).await;
            let page = page.unwrap();
            assert_eq!(page.pagination.total, Some(45), "page {number}");
            seen.extend(page.items.into_iter().map(|event| event.name));
        }
        let all: Vec<String> = (1..=45).map(|n| format!("{n:02}")).collect();
        assert_eq!(seen, all);
    }
    let plain = event::Entity::find().page(&db, PageRequest::new(1, 20));
    let plain = plain.await.unwrap();
    assert_eq!(
        (plain.items.len(), plain.pagination.total),
        (0, Some(0)),
        "the test proves nothing: the replica has the rows"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invented_or_foreign_token_costs_a_read_on_the_primary_and_no_wait() {
    let shop = Shop::open("session_forged").await;
    let db = shop.connect().await;
    let session = db.session();
    named("a".into()).insert(&session).await.unwrap();
    let real = session.token().await.unwrap().unwrap().to_string();
    let mut parts = real.split('-');
    let (version, system, timeline) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    for forged in [
        format!("{version}-{system}-{timeline}-ffffffffffffffff"),
        format!("{version}-{system}-7-1"),
        format!("{version}-1234-{timeline}-1"),
        "1-0-0-0".to_owned(),
    ] {
        let begun = Instant::now();
        let session = db
            .session_with(forged.parse().unwrap())
            .wait(Duration::from_secs(600));
        assert_eq!(
            who_reads(&session).await.unwrap(),
            shop.primary_port(),
            "{forged}"
        );
        assert!(begun.elapsed() < LIMIT, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_time_before_a_fail_over_is_answered_by_the_primary() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    let session = db.session();
    named("before".into()).insert(&session).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    postgres.primary().kill().unwrap();
    postgres.replica(0).promote().unwrap();
    eventually(LIMIT, || db.status().primary().id == "r1");
    let next = db.session_with(token);
    assert_eq!(who_reads(&next).await.unwrap(), port(postgres.replica(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_replica_dies_goes_on_at_the_primary() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    let session = db.session();
    let first = who_reads(&session).await.unwrap();
    let node = postgres
        .replicas()
        .iter()
        .find(|node| port(node) == first)
        .unwrap();
    node.kill().unwrap();
    assert_eq!(who_reads(&session).await.unwrap(), port(postgres.primary()));
    until_up(&db, &session_free_replica(&db, &postgres, first), true).await;
    assert_eq!(
        who_reads(&session).await.unwrap(),
        port(postgres.primary()),
        "it does not go back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lost_its_replica_keeps_to_the_fallback() {
    let postgres = private(1);
    let connect = |fallback| builder_for(&postgres).fallback(fallback).connect();
    let strict = connect(Fallback::Error).await.unwrap();
    let capped = connect(Fallback::Primary { max_in_flight: 1 });
    let capped = capped.await.unwrap();
    let (refused, served) = (strict.session(), Arc::new(capped.session()));
    for session in [&refused, &*served] {
        assert_eq!(who_reads(session).await.unwrap(), port(postgres.replica(0)));
    }
    postgres.replica(0).kill().unwrap();
    for _ in 0..3 {
        let error = who_reads(&refused).await.unwrap_err();
        assert!(
            matches!(Error::of(&error), Some(Error::NoReplica)),
            "{error}"
        );
        assert_eq!(who_reads(&*served).await.unwrap(), port(postgres.primary()));
    }
    assert_eq!(refused.node(), None);
    assert_eq!(served.node().as_deref(), Some("primary"));

    let slow = Arc::clone(&served);
    let slow =
        tokio::spawn(async move { ask::<bool>(&*slow, "select pg_sleep(60) is null").await });
    eventually_async(LIMIT, || async { capped.status().primary().in_flight == 1 }).await;
    let error = who_reads(&*served).await.unwrap_err();
    assert!(
        matches!(Error::of(&error), Some(Error::Overloaded { limit: 1, .. })),
        "{error}"
    );
    slow.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_wait_for_a_replica_that_is_known_to_be_away() {
    let postgres = private(1);
    let proxy = FaultProxy::to(postgres.replica(0).addr()).await.unwrap();
    let limit = 5 * LIMIT;
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("r1", proxy.url_like(&postgres.replica(0).url()).unwrap())
        .pool(patient().connect_timeout(limit))
        .connect()
        .await
        .unwrap();
    let session = db.session();
    assert_eq!(
        who_reads(&session).await.unwrap(),
        port(postgres.replica(0))
    );
    proxy.blackhole(Direction::Both);
    until_up(&db, "r1", false).await;
    let begun = Instant::now();
    assert_eq!(who_reads(&session).await.unwrap(), port(postgres.primary()));
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_does_not_go_back_with_a_replica_that_was_started_again() {
    let postgres = private(1);
    let replica = postgres.replica(0);
    let db = builder_for(&postgres)
        .pool(patient().idle_timeout(Duration::from_millis(100)))
        .connect()
        .await
        .unwrap();
    for _ in 0..2 {
        postgres.primary().psql("checkpoint").unwrap();
        postgres.wait_for_replicas().unwrap();
        replica.psql("checkpoint").unwrap();
        // From here on the replica has to replay anew what it shows, and will wait an hour with it.
        let id = named("seen".into()).insert(&db).await.unwrap().id;
        postgres.wait_for_replicas().unwrap();
        let session = db.session();
        assert!(is_there(&session, id).await);
        assert_eq!(session.node().as_deref(), Some("r1"));
        // Without a connection in the pool nothing breaks when the server goes.
        eventually(LIMIT, || db.status().replicas().all(|r| r.pool.size == 0));
        for sql in [
            "alter system set recovery_min_apply_delay = '1h'",
            "select pg_reload_conf()",
        ] {
            replica.psql(sql).unwrap();
        }
        replica.kill().unwrap();
        replica.restart().unwrap();
        let gone = format!("select count(*) from event where id = {id}");
        assert_eq!(replica.psql(&gone).unwrap(), "0", "the test proves nothing");
        assert!(is_there(&session, id).await);
        for sql in [
            "alter system reset recovery_min_apply_delay",
            "select pg_reload_conf()",
        ] {
            replica.psql(sql).unwrap();
        }
        postgres.wait_for_replicas().unwrap();
        until_up(&db, "r1", true).await;
    }
}

/// The replica that did not serve the session.
fn session_free_replica(db: &Cluster, postgres: &Postgres, taken: i32) -> String {
    let free = postgres
        .replicas()
        .iter()
        .position(|node| port(node) != taken)
        .unwrap();
    db.status().replicas().nth(free).unwrap().id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_asks_for_little_lag_is_served_by_proof_or_by_the_primary() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let known = || db.status().replicas().all(|r| r.lag.is_some());
    eventually(LIMIT, known);
    let session = db.session().max_lag(Duration::from_secs(30));
    assert_eq!(
        who_reads(&session).await.unwrap(),
        port(postgres.replica(0))
    );
    let impossible = db.session().max_lag(Duration::ZERO);
    assert_eq!(
        who_reads(&impossible).await.unwrap(),
        port(postgres.primary())
    );
    let count = event::Entity::find()
        .filter(event::Column::Id.gt(0))
        .count(&session)
        .await
        .unwrap();
    assert_eq!(count, 0);
}
