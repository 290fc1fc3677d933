use std::time::{Duration, Instant};

use bilten_db::sea_orm::{ActiveModelTrait, ActiveValue::Set, ConnectionTrait, EntityTrait};
use bilten_db::{Cluster, Token};
use bilten_testbed::{MariaDb, eventually};

use super::{builder_for, port, private};
use crate::fixture::{LIMIT, event, is_up, tally, until_up, who_reads};

const INSERT: &str = "insert into event (name) values ('a')";

async fn write(db: &impl ConnectionTrait) -> i32 {
    let named = event::ActiveModel {
        name: Set("late".to_owned()),
        ..Default::default()
    };
    named.insert(db).await.unwrap().id
}

async fn is_there(db: &impl ConnectionTrait, id: i32) -> bool {
    let found = event::Entity::find_by_id(id).one(db).await;
    found.unwrap().is_some()
}

fn lag(db: &Cluster) -> Option<(u64, Duration)> {
    let status = db.status();
    let node = status.replicas().next()?;
    Some((node.lag_bytes?, node.lag?))
}

async fn cluster(maria: &MariaDb) -> Cluster {
    let db = builder_for(maria).connect().await.unwrap();
    eventually(LIMIT, || lag(&db).is_some());
    db
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_on_mariadb_never_misses_its_own_write_where_plain_reads_do() {
    let maria = private(1).await;
    let replica = maria.replica(0);
    // In whole seconds only, and each commit is shown that late.
    replica
        .sql("stop slave; change master to master_delay = 1; start slave")
        .unwrap();
    let db = cluster(&maria).await;
    let (mut missed_plain, mut missed_session, mut missed_next) = (0, 0, 0);
    for _ in 0..100 {
        let session = db.session();
        let id = write(&session).await;
        missed_session += usize::from(!is_there(&session, id).await);
        missed_plain += usize::from(!is_there(&db, id).await);
        // Text, as it would travel to another process.
        let token = session.token().await.unwrap().unwrap().to_string();
        let next = db.session_with(token.parse::<Token>().unwrap());
        missed_next += usize::from(!is_there(&next.wait(Duration::from_millis(2)), id).await);
    }
    assert_eq!((missed_session, missed_next), (0, 0));
    assert!(
        missed_plain > 0,
        "the test proves nothing: no plain read missed anything"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gtid_is_waited_for_within_the_budget_and_then_the_primary_answers() {
    let maria = private(1).await;
    let db = cluster(&maria).await;
    maria.replica(0).pause_replay().unwrap();
    let session = db.session();
    let id = write(&session).await;
    let token = session.token().await.unwrap().unwrap();
    let next = db.session_with(token).wait(Duration::from_millis(50));
    assert!(is_there(&next, id).await);
    assert_eq!(who_reads(&next).await.unwrap(), port(maria.primary()));

    maria.replica(0).resume_replay().unwrap();
    maria.wait_for_replicas().unwrap();
    let next = db.session_with(token).wait(LIMIT);
    assert!(is_there(&next, id).await);
    assert_eq!(who_reads(&next).await.unwrap(), port(maria.replica(0)));

    for forged in ["1-0-1-ffffffffffffffff", "1-0-7-1", "1-1234-1-1", "1-0-0-0"] {
        let begun = Instant::now();
        let session = db.session_with(forged.parse().unwrap());
        let session = session.wait(Duration::from_secs(600));
        assert_eq!(
            who_reads(&session).await.unwrap(),
            port(maria.primary()),
            "{forged}"
        );
        assert!(begun.elapsed() < LIMIT, "{forged}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_mariadb_that_lags_leaves_the_rotation_and_comes_back() {
    let maria = private(2).await;
    let db = builder_for(&maria).max_lag(Duration::from_secs(2));
    let db = db.connect().await.unwrap();
    until_up(&db, "r1", true).await;
    maria.replica(0).pause_replay().unwrap();
    let begun = Instant::now();
    while is_up(&db, "r1") {
        db.execute_unprepared(INSERT).await.unwrap();
        assert!(begun.elapsed() < LIMIT, "{:?}", db.status());
    }
    let (behind, time) = lag(&db).unwrap();
    assert!(
        behind > 0 && time > Duration::from_secs(2),
        "{behind} {time:?}"
    );
    let shares = tally(&db, 10).await;
    assert_eq!(shares, [(port(maria.replica(1)), 10)].into());

    maria.replica(0).resume_replay().unwrap();
    until_up(&db, "r1", true).await;
    assert_eq!(lag(&db).map(|(behind, _)| behind), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_mariadb_cut_off_from_an_idle_primary_has_no_lag() {
    let maria = private(1).await;
    let db = cluster(&maria).await;
    maria.replica(0).cut_off().unwrap();
    eventually(LIMIT, || lag(&db) == Some((0, Duration::ZERO)));
    db.execute_unprepared(INSERT).await.unwrap();
    db.execute_unprepared(INSERT).await.unwrap();
    eventually(LIMIT, || {
        lag(&db).is_some_and(|(behind, time)| behind == 2 && time > Duration::from_secs(2))
    });
}
