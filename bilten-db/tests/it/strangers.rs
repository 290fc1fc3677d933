//! Servers and databases that are not the primary's.

use bilten_db::sea_orm::ConnectionTrait;
use bilten_db::{Error, Fallback};
use bilten_testbed::{Postgres, eventually_async};

use crate::fixture::{
    LIMIT, ask, builder_for, cluster, is_up, port, private, reason, tally, until_up, who_reads,
};

/// A database beside that of the cluster, on its own servers, in which `place` answers with -1. Returns its name.
fn another_database(postgres: &Postgres) -> String {
    let name = postgres.create_database("beside").unwrap();
    let tables = "create view place as select 1 as id, -1 as port; create table event (id serial, name text)";
    postgres.primary().psql_in(&name, tables).unwrap();
    postgres.wait_for_replicas().unwrap();
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_opens_another_database_serves_no_read_and_says_why() {
    let postgres = private(2);
    let name = another_database(&postgres);
    let there = postgres.replica(1).url_for(&name);
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("r1", postgres.replica(0).url())
        .replica("beside", &there)
        .connect()
        .await
        .unwrap();
    db.add_replica("late", &there).await.unwrap();
    let right = port(postgres.replica(0));
    assert_eq!(tally(&db, 30).await, [(right, 30)].into());
    let ours: String = ask(&db, "select current_database()::text").await.unwrap();
    for id in ["beside", "late"] {
        let reason = reason(&db, id);
        let told = [id, &name, &ours, "in the URL of", "independent_replicas()"];
        assert!(told.iter().all(|word| reason.contains(word)), "{reason}");
    }
    let only = cluster()
        .primary(postgres.primary().url())
        .replica("beside", &there)
        .fallback(Fallback::Error)
        .connect()
        .await
        .unwrap();
    let error = who_reads(&only).await.unwrap_err();
    assert!(
        matches!(Error::of(&error), Some(Error::NoReplica)),
        "{error}"
    );

    // Whoever says that replicas are something else is believed.
    let other = cluster()
        .primary(postgres.primary().url())
        .replica("beside", &there)
        .independent_replicas()
        .connect()
        .await
        .unwrap();
    assert_eq!(who_reads(&other).await.unwrap(), -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_come_in_while_the_primary_is_down() {
    let postgres = private(1);
    let name = another_database(&postgres);
    let stranger = Postgres::builder().stranger().replicas(1).start().unwrap();
    let db = builder_for(&postgres)
        .replica("stranger", stranger.replica(0).url())
        .replica("beside", postgres.replica(0).url_for(&name))
        .connect()
        .await
        .unwrap();
    postgres.primary().kill().unwrap();
    until_up(&db, "primary", false).await;
    // Each is tried again after a second or two; then a new look at it has begun another pause.
    for id in ["stranger", "beside"] {
        let pause = || {
            let status = db.status();
            let node = status.nodes.iter().find(|node| node.id == id);
            node.and_then(|node| node.next_trial).unwrap_or_default()
        };
        let mut before = pause();
        eventually_async(LIMIT, || {
            let now = pause();
            let renewed = now > before || is_up(&db, id);
            before = now;
            async move { renewed }
        })
        .await;
        assert!(!is_up(&db, id), "{id}: {:?}", db.status());
    }
    let shares = tally(&db, 20).await;
    assert_eq!(shares, [(port(postgres.replica(0)), 20)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_of_another_database_takes_no_write() {
    let postgres = private(1);
    let name = another_database(&postgres);
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("beside", postgres.replica(0).url_for(&name))
        .connect()
        .await
        .unwrap();
    postgres.primary().kill().unwrap();
    until_up(&db, "primary", false).await;
    postgres.replica(0).promote().unwrap();
    eventually_async(LIMIT, || async {
        postgres
            .replica(0)
            .psql("select pg_is_in_recovery()")
            .unwrap()
            == "f"
    })
    .await;
    let insert = "insert into event (name) values ('lost')";
    for _ in 0..10 {
        db.execute_unprepared(insert).await.unwrap_err();
    }
    let count = "select count(*) from event";
    assert_eq!(postgres.replica(0).psql_in(&name, count).unwrap(), "0");
    assert_eq!(db.status().primary().id, "primary");
}
