use std::time::{Duration, Instant};

use bilten_db::scope::{Freshness, Route, with_freshness, with_route};
use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use bilten_db::{Cluster, Error, Fallback, Replica, Session};
use bilten_testbed::{Postgres, eventually};

use crate::fixture::{LIMIT, builder_for, cluster, port, private, who_reads};

const INSERT: &str = "insert into event (name) values ('a')";

async fn known(postgres: &Postgres) -> Cluster {
    let db = builder_for(postgres).connect().await.unwrap();
    eventually(LIMIT, || db.status().replicas().all(|r| r.lag.is_some()));
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_read_asks_for_is_kept_by_proof_or_by_the_primary() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    let reads = |freshness| with_freshness(freshness, who_reads(&db));
    let minute = Freshness::MaxLag(Duration::from_secs(60));
    assert_eq!(reads(Freshness::Any).await.unwrap(), replica);
    assert_eq!(reads(minute).await.unwrap(), replica);
    assert_eq!(reads(Freshness::Primary).await.unwrap(), primary);
    let none = Freshness::MaxLag(Duration::ZERO);
    assert_eq!(reads(none).await.unwrap(), primary);

    postgres.replica(0).pause_replay().unwrap();
    let session = db.session();
    session.execute_unprepared(INSERT).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    let written = Freshness::AtLeast(token);
    assert_eq!(reads(written).await.unwrap(), primary);
    assert_eq!(reads(Freshness::Any).await.unwrap(), replica);
    postgres.replica(0).resume_replay().unwrap();
    let begun = Instant::now();
    while reads(written).await.unwrap() != replica {
        assert!(begun.elapsed() < LIMIT, "{:?}", db.status());
    }
    let inside = with_freshness(Freshness::Primary, reads(Freshness::Any)).await;
    assert_eq!(inside.unwrap(), replica, "the inner demand counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_the_same_demands() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    let newest = db.session().freshness(Freshness::Primary);
    for _ in 0..3 {
        assert_eq!(who_reads(&newest).await.unwrap(), primary);
    }
    let session = db.session();
    session.execute_unprepared(INSERT).await.unwrap();
    let token = session.token().await.unwrap().unwrap();
    let patient = db
        .session()
        .freshness(Freshness::AtLeast(token))
        .wait(LIMIT);
    assert_eq!(who_reads(&patient).await.unwrap(), replica);
    let minute = Freshness::MaxLag(Duration::from_secs(60));
    let lenient = db.session().freshness(minute);
    assert_eq!(who_reads(&lenient).await.unwrap(), replica);
    let strict = Freshness::MaxLag(Duration::ZERO);
    let plain = db.session();
    let from = with_freshness(strict, who_reads(&plain)).await.unwrap();
    assert_eq!(from, primary, "a session hears the demand of its task");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_does_not_send_set_apart_work_to_the_primary() {
    let postgres = private(1);
    let db = cluster()
        .primary(postgres.primary().url())
        .replica(
            "r1",
            Replica::new(postgres.replica(0).url()).group("reports"),
        )
        .connect()
        .await
        .unwrap();
    let none = Freshness::MaxLag(Duration::ZERO);
    let read = with_freshness(none, who_reads(&db));
    let error = with_route(Route::Group("reports"), read).await.unwrap_err();
    assert!(
        matches!(Error::of(&error), Some(Error::NoReplica)),
        "{error}"
    );
    let read = with_freshness(none, who_reads(&db)).await.unwrap();
    assert_eq!(read, port(postgres.primary()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_longer_ago_than_max_lag_is_seen() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let limit = Duration::from_millis(500);
    let mut by_the_replica = 0;
    for round in 0..6 {
        postgres.replica(0).pause_replay().unwrap();
        let insert = format!("insert into event (name) values ('round {round}')");
        db.execute_unprepared(&insert).await.unwrap();
        let committed = Instant::now();
        let sql =
            format!("select count(*), pg_is_in_recovery() from event where name = 'round {round}'");
        // By then every probe has seen the commit, or what comes before it.
        while committed.elapsed() < Duration::from_secs(3) {
            let begun = Instant::now();
            let read = Statement::from_string(DatabaseBackend::Postgres, &sql);
            let read = with_freshness(Freshness::MaxLag(limit), db.query_one_raw(read));
            let row = read.await.unwrap().unwrap();
            let seen: i64 = row.try_get_by_index(0).unwrap();
            by_the_replica += usize::from(row.try_get_by_index::<bool>(1).unwrap());
            let age = begun - committed;
            assert!(age <= limit || seen == 1, "missed what is {age:?} old");
        }
        postgres.replica(0).resume_replay().unwrap();
        postgres.wait_for_replicas().unwrap();
        eventually(LIMIT, || {
            db.status()
                .replicas()
                .all(|r| r.lag == Some(Duration::ZERO))
        });
    }
    assert!(by_the_replica > 0, "the primary alone proves nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_its_replica_keeps_a_later_demand() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    let [early, late] = [db.session(), db.session()];
    for session in [&early, &late] {
        assert_eq!(who_reads(session).await.unwrap(), replica);
    }
    postgres.replica(0).pause_replay().unwrap();
    let other = db.session();
    other.execute_unprepared(INSERT).await.unwrap();
    let token = other.token().await.unwrap().unwrap();
    let written = Freshness::AtLeast(token);
    assert_eq!(
        who_reads(&early).await.unwrap(),
        replica,
        "nothing is asked"
    );
    let asked = with_freshness(written, who_reads(&early)).await.unwrap();
    assert_eq!(asked, primary, "the replica has it not");
    let after = who_reads(&early).await.unwrap();
    assert_eq!(after, primary, "it never goes back in time");

    postgres.replica(0).resume_replay().unwrap();
    let late = late.wait(LIMIT);
    let asked = with_freshness(written, who_reads(&late)).await.unwrap();
    assert_eq!(asked, replica, "what comes soon is waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_lives_longer_than_its_limit_of_lag_leaves_a_replica_that_lags() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    let limit = Duration::from_secs(8);
    let session = db.session().max_lag(limit);
    assert_eq!(who_reads(&session).await.unwrap(), replica);
    postgres.replica(0).pause_replay().unwrap();
    db.execute_unprepared(INSERT).await.unwrap();
    let lags = |r: &bilten_db::status::NodeStatus| r.lag.is_some_and(|lag| lag > limit);
    eventually(LIMIT, || db.status().replicas().all(lags));
    assert_eq!(who_reads(&session).await.unwrap(), primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_of_one_node_that_has_its_replica_keeps_a_later_demand() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    postgres.replica(0).pause_replay().unwrap();
    let session = db.session();
    session.execute_unprepared(INSERT).await.unwrap();
    let written = Freshness::AtLeast(session.token().await.unwrap().unwrap());
    with_route(Route::OneNode, async {
        assert_eq!(who_reads(&db).await.unwrap(), replica);
        let asked = with_freshness(written, who_reads(&db)).await.unwrap();
        assert_eq!(asked, primary, "the replica has it not");
        assert_eq!(
            who_reads(&db).await.unwrap(),
            primary,
            "the others stay with it"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_the_scope_of_a_group_reads_from_that_group() {
    let postgres = private(2);
    let reports = Replica::new(postgres.replica(1).url()).group("reports");
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("r1", postgres.replica(0).url())
        .replica("r2", reports);
    let db = db.connect().await.unwrap();
    let group = Route::Group("reports");
    let session = db.session();
    for _ in 0..2 {
        let from = with_route(group, who_reads(&session)).await.unwrap();
        assert_eq!(from, port(postgres.replica(1)));
    }
    let outside = who_reads(&session).await.unwrap();
    assert_eq!(
        outside,
        port(postgres.primary()),
        "a group serves no others"
    );
    let session = db.session();
    assert_eq!(
        who_reads(&session).await.unwrap(),
        port(postgres.replica(0))
    );
    let error = with_route(group, who_reads(&session)).await.unwrap_err();
    assert!(
        matches!(Error::of(&error), Some(Error::NoReplica)),
        "a group is a wall: {error}"
    );
    assert_eq!(
        who_reads(&session).await.unwrap(),
        port(postgres.replica(0))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_far_behind_is_not_waited_for() {
    let postgres = private(2);
    let db = known(&postgres).await;
    postgres.replica(0).pause_replay().unwrap();
    db.execute_unprepared(INSERT).await.unwrap();
    let far = |r: &bilten_db::status::NodeStatus| {
        r.id != "r1" || r.lag.is_some_and(|lag| lag > Duration::from_secs(12))
    };
    eventually(LIMIT, || db.status().replicas().all(far));
    for _ in 0..10 {
        let session = db.session();
        session.execute_unprepared(INSERT).await.unwrap();
        let token = session.token().await.unwrap().unwrap();
        let next = db.session_with(token).wait(Duration::from_secs(6));
        assert_ne!(who_reads(&next).await.unwrap(), port(postgres.replica(0)));
        let by = next.node();
        assert_eq!(by.as_deref(), Some("r2"), "the turn of r1 goes to another");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_primary_answered_for_want_of_replicas_chooses_none_that_joins() {
    let postgres = private(1);
    let (primary, replica) = (postgres.primary(), postgres.replica(0));
    for fallback in [Fallback::Error, Fallback::StaleReplica] {
        let db = cluster().primary(primary.url()).fallback(fallback);
        let db = db.connect().await.unwrap();
        let lenient = Freshness::MaxLag(Duration::from_secs(600));
        let [plain, limited] = [db.session(), db.session().freshness(lenient)];
        for session in [&plain, &limited] {
            assert_eq!(who_reads(session).await.unwrap(), port(primary));
        }
        db.add_replica("r1", replica.url()).await.unwrap();
        assert_eq!(who_reads(&db).await.unwrap(), port(replica));
        let known = || db.status().replicas().all(|r| r.lag.is_some());
        eventually(LIMIT, known);
        for session in [&plain, &limited] {
            assert_eq!(who_reads(session).await.unwrap(), port(primary));
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_primary_answered_to_keep_a_promise_stays_there() {
    let postgres = private(1);
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    let db = builder_for(&postgres).fallback(Fallback::Error);
    let db = db.connect().await.unwrap();
    eventually(LIMIT, || db.status().replicas().all(|r| r.lag.is_some()));
    postgres.replica(0).pause_replay().unwrap();
    let other = db.session();
    other.execute_unprepared(INSERT).await.unwrap();
    let token = other.token().await.unwrap().unwrap();
    let session = db.session_with(token);
    assert_eq!(who_reads(&session).await.unwrap(), primary);
    postgres.replica(0).resume_replay().unwrap();
    let next = db.session_with(token).wait(LIMIT);
    assert_eq!(who_reads(&next).await.unwrap(), replica, "it has it now");
    let after = who_reads(&session).await.unwrap();
    assert_eq!(after, primary, "what was written since was shown, perhaps");
}

/// A busy machine decides nothing: each round is compared with a read of just before, and one good round is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_does_not_come_near_costs_the_budget_and_little_more() {
    let postgres = private(1);
    let db = known(&postgres).await;
    let (primary, replica) = (port(postgres.primary()), postgres.replica(0));
    let budget = Duration::from_millis(50);
    let mut rounds = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        // Anew each time: one that is seconds behind would not be waited for.
        replica.resume_replay().unwrap();
        postgres.wait_for_replicas().unwrap();
        replica.pause_replay().unwrap();
        let writer = db.session();
        writer.execute_unprepared(INSERT).await.unwrap();
        let token = writer.token().await.unwrap().unwrap();
        let read = async |next: Session| {
            let begun = Instant::now();
            assert_eq!(who_reads(&next).await.unwrap(), primary);
            begun.elapsed()
        };
        let usual = read(db.session().freshness(Freshness::Primary)).await;
        let took = read(db.session_with(token).wait(budget)).await;
        let most = budget + Duration::from_millis(10) + 2 * usual;
        if (budget..=most).contains(&took) {
            return;
        }
        rounds.push((took, usual));
    }
    panic!("a read that waited, and one that did not: {rounds:?}");
}
