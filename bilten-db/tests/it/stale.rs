//! Reads where all replicas lag more than allowed.

use std::time::Duration;

use bilten_db::retry::HedgeConfig;
use bilten_db::status::State;
use bilten_db::{Cluster, Fallback};
use bilten_testbed::{Postgres, eventually_async};
use metrics_util::debugging::DebuggingRecorder;
use tokio::runtime::Builder;

use crate::fixture::{LIMIT, ask, builder_for, port, private, seen, tally, until_open, who_reads};
use crate::metrics::counted;

const WRITE: &str =
    "insert into event (name) select repeat('x', 1000) from generate_series(1, 1000)";

async fn until_lagging(db: &Cluster, id: &str) {
    eventually_async(LIMIT, || async { seen(db, id).state == State::Lagging }).await;
}

/// Both lag: `r1` has nothing of two writes, `r2` the first of them.
async fn leave_both_behind(postgres: &Postgres, db: &Cluster) {
    let [r1, r2] = [0, 1].map(|n| postgres.replica(n));
    r1.pause_replay().unwrap();
    postgres.primary().psql(WRITE).unwrap();
    // The cluster knows of a position that only the other has.
    let knows = || async { seen(db, "r1").lag_bytes > Some(500_000) };
    eventually_async(LIMIT, knows).await;
    let position = "select pg_current_wal_insert_lsn()";
    let position = postgres.primary().psql(position).unwrap();
    let has = format!("select pg_last_wal_replay_lsn() >= '{position}'");
    eventually_async(LIMIT, || async { r2.psql(&has).unwrap() == "t" }).await;
    r2.pause_replay().unwrap();
    postgres.primary().psql(WRITE).unwrap();
    until_lagging(db, "r1").await;
    until_lagging(db, "r2").await;
}

#[test]
fn a_stale_answer_is_that_of_the_replica_that_lags_least_and_is_told_as_stale() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stale = || counted(&snapshotter, Some(("reason", "stale")));
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let postgres = private(2);
            let db = builder_for(&postgres)
                .max_lag(Duration::from_secs(1))
                .fallback(Fallback::StaleReplica);
            let db = db.connect().await.unwrap();
            let fresh = db.session();
            who_reads(&fresh).await.unwrap();
            assert!(!fresh.is_stale());
            assert_eq!(stale(), 0);

            leave_both_behind(&postgres, &db).await;
            let least = port(postgres.replica(1));
            assert_eq!(tally(&db, 20).await, [(least, 20)].into());
            assert_eq!(stale(), 20);
            let session = db.session();
            assert_eq!(tally(&session, 5).await, [(least, 5)].into());
            assert!(session.is_stale() && session.node().as_deref() == Some("r2"));
            assert_eq!(stale(), 5);
            // What it has shown is no younger when its replica is well again.
            let well = |n| {
                postgres.replica(n).resume_replay().unwrap();
                let id = format!("r{}", n + 1);
                let db = &db;
                eventually_async(LIMIT, move || {
                    let id = id.clone();
                    async move { seen(db, &id).state == State::Up }
                })
            };
            well(1).await;
            assert!(session.is_stale());
            postgres.replica(1).pause_replay().unwrap();
            postgres.primary().psql(WRITE).unwrap();
            until_lagging(&db, "r2").await;

            // One that lags no more is asked, and nothing is stale.
            well(0).await;
            assert_eq!(
                tally(&db, 20).await,
                [(port(postgres.replica(0)), 20)].into()
            );
            assert_eq!(stale(), 0);
        });
    });
}

#[test]
fn a_read_is_not_hedged_with_a_replica_that_lags_too_much() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let hedges = || counted(&snapshotter, Some(("reason", "hedge")));
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let postgres = private(2);
            let db = builder_for(&postgres)
                .max_lag(Duration::from_secs(1))
                .fallback(Fallback::StaleReplica)
                .hedge(HedgeConfig::after(Duration::from_millis(20)));
            let db = db.connect().await.unwrap();
            until_open(&db).await;
            let slow = "select pg_sleep(0.3) is null";
            // The other has no lag yet.
            let is_hedged = || async {
                ask::<bool>(&db, slow).await.unwrap();
                hedges() > 0
            };
            eventually_async(LIMIT, is_hedged).await;
            postgres.replica(1).pause_replay().unwrap();
            postgres.primary().psql(WRITE).unwrap();
            until_lagging(&db, "r2").await;
            for _ in 0..3 {
                ask::<bool>(&db, slow).await.unwrap();
            }
            assert_eq!(hedges(), 0);
        });
    });
}
