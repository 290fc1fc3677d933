use std::time::{Duration, Instant};

use bilten_db::scope::{Freshness, Route, with_freshness, with_route};
use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use bilten_db::{Cluster, Error, Replica};
use bilten_testbed::{Postgres, eventually};

use crate::fixture::{LIMIT, builder_for, port, private, who_reads};

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
    let db = Cluster::builder()
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
