//! Work that is not meant for the primary, and scopes that stay where they are.

use std::time::Duration;

use bilten_db::scope::{Freshness, Route, with_freshness, with_route};
use bilten_db::sea_orm::{ConnectionTrait, DbErr};
use bilten_db::status::Rotation;
use bilten_db::{Cluster, Error, Fallback, Replica};
use bilten_testbed::{Postgres, eventually};

use crate::fixture::{LIMIT, builder_for, cluster, port, private, who_reads};

const REPORTS: Route = Route::Group("reports");
const NOW: Freshness = Freshness::MaxLag(Duration::ZERO);

/// One replica for all, and one for reports.
async fn divided(postgres: &Postgres) -> Cluster {
    let reports = Replica::new(postgres.replica(1).url()).group("reports");
    let built = cluster()
        .primary(postgres.primary().url())
        .replica("r1", postgres.replica(0).url())
        .replica("r2", reports);
    built.connect().await.unwrap()
}

fn is_refused(outcome: Result<i32, DbErr>) -> bool {
    let error = outcome.unwrap_err();
    matches!(Error::of(&error), Some(Error::NoReplica))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_went_on_to_the_primary_takes_no_report_along() {
    let postgres = private(2);
    let db = divided(&postgres).await;
    let primary = port(postgres.primary());
    let session = db.session();
    let report = || with_route(REPORTS, who_reads(&session));
    assert_eq!(report().await.unwrap(), port(postgres.replica(1)));
    assert_eq!(who_reads(&session).await.unwrap(), primary);
    assert!(is_refused(report().await), "the primary is not for reports");
    assert_eq!(who_reads(&session).await.unwrap(), primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_told_to_read_from_replicas_does_not_go_to_the_primary_for_newer_data() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let replica = port(postgres.replica(0));
    let [begun, new] = [db.session(), db.session()];
    assert_eq!(who_reads(&begun).await.unwrap(), replica);
    for session in [&begun, &new] {
        let newest = with_freshness(NOW, who_reads(session));
        assert!(is_refused(with_route(Route::Replica, newest).await));
        assert_eq!(
            who_reads(session).await.unwrap(),
            replica,
            "nothing was shown"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_finds_no_replica_decides_nothing_for_its_session() {
    let postgres = private(2);
    let db = divided(&postgres).await;
    db.order("r2", Rotation::Out).unwrap();
    let session = db.session();
    let report = with_route(REPORTS, who_reads(&session));
    assert!(is_refused(report.await));
    let plain = who_reads(&session).await.unwrap();
    assert_eq!(plain, port(postgres.replica(0)));

    let reports = db.session().group("reports");
    assert!(is_refused(who_reads(&reports).await));
    db.order("r2", Rotation::Auto).unwrap();
    let back = who_reads(&reports).await.unwrap();
    assert_eq!(back, port(postgres.replica(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_was_promised_the_primary_stays_there_whatever_the_fallback() {
    let postgres = private(1);
    let (primary, replica) = (port(postgres.primary()), port(postgres.replica(0)));
    for fallback in [Fallback::Error, Fallback::StaleReplica] {
        let db = builder_for(&postgres).fallback(fallback).connect();
        let db = db.await.unwrap();
        eventually(LIMIT, || db.status().replicas().all(|r| r.lag.is_some()));
        let session = db.session();
        let insert = "insert into event (name) values ('a')";
        session.execute_unprepared(insert).await.unwrap();
        with_route(Route::OneNode, async {
            assert_eq!(who_reads(&db).await.unwrap(), replica);
            let newest = with_freshness(NOW, who_reads(&db));
            assert_eq!(newest.await.unwrap(), primary);
            assert_eq!(who_reads(&db).await.unwrap(), primary, "{fallback:?}");
        })
        .await;
    }
}
