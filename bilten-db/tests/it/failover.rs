use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bilten_db::sea_orm::{ConnectionTrait, DbErr, TransactionTrait};
use bilten_db::{Cluster, Error};
use bilten_testbed::{Postgres, eventually};

use tokio::net::TcpStream;

use crate::fixture::{
    LIMIT, ask, builder_for, cluster, is_up, patient, port, private, reason, serving, who_reads,
};

const INSERT: &str = "insert into event (name) values ('a') returning port";

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_takes_the_writes_and_the_old_primary_is_fenced() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    assert_eq!(
        ask::<i32>(&db, INSERT).await.unwrap(),
        port(postgres.primary())
    );
    postgres.primary().kill().unwrap();
    postgres.replica(0).promote().unwrap();
    let begun = Instant::now();
    let took = loop {
        match ask::<i32>(&db, INSERT).await {
            Ok(took) => break took,
            Err(_) => assert!(begun.elapsed() < LIMIT, "no write succeeded"),
        }
    };
    assert_eq!(took, port(postgres.replica(0)));
    assert_eq!(db.status().primary().id, "r1");

    // It comes back, still believing that it is the primary.
    postgres.primary().restart().unwrap();
    eventually(LIMIT, || reason(&db, "primary").contains("takes writes"));
    assert!(!is_up(&db, "primary"));
    for _ in 0..20 {
        assert_eq!(
            ask::<i32>(&db, INSERT).await.unwrap(),
            port(postgres.replica(0))
        );
        assert_ne!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    }
    let rows = postgres
        .primary()
        .psql("select count(*) from event where name = 'a'")
        .unwrap();
    assert_eq!(rows, "1", "no write reached it after the fail-over");
    let standby = postgres.replica(1).log_tail();
    assert!(
        !standby.contains("cannot execute"),
        "a standby was sent a write: {standby}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_noticed_within_two_turns_of_the_probes_alone() {
    // A turn is a second and a fifth at most; what happens to be slow on this machine is so only sometimes.
    let in_time = 2 * Duration::from_millis(1_200);
    let mut noticed = Vec::new();
    for _ in 0..5 {
        let postgres = private(1);
        let db = builder_for(&postgres).connect().await.unwrap();
        postgres.replica(0).promote().unwrap();
        let begun = Instant::now();
        // Nothing is sent, so nothing that fails makes anybody look.
        eventually(LIMIT, || db.status().primary().id == "r1");
        noticed.push(begun.elapsed());
        if noticed.last() < Some(&in_time) {
            let took = ask::<i32>(&db, INSERT).await.unwrap();
            assert_eq!(took, port(postgres.replica(0)), "the first write already");
            return;
        }
    }
    panic!("noticed after {noticed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_beside_a_living_primary_moves_the_writes_once() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.replica(0).promote().unwrap();
    eventually(LIMIT, || db.status().primary().id == "r1");
    for _ in 0..50 {
        assert_eq!(
            ask::<i32>(&db, INSERT).await.unwrap(),
            port(postgres.replica(0))
        );
    }
    assert!(
        !is_up(&db, "primary"),
        "two nodes take writes: the older history is fenced"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_turned_standby_before_the_start_is_found_among_the_replicas() {
    let postgres = private(2);
    let db = cluster()
        .primary(postgres.replica(0).url())
        .replica("r1", postgres.primary().url())
        .replica("r2", postgres.replica(1).url())
        .connect()
        .await
        .unwrap();
    assert_eq!(db.status().primary().id, "r1");
    assert_eq!(
        ask::<i32>(&db, INSERT).await.unwrap(),
        port(postgres.primary())
    );

    let error = cluster()
        .primary(postgres.replica(0).url())
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }));
    assert!(error.to_string().contains("is a standby"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_a_primary_serves_nothing() {
    let postgres = private(0);
    let other = Postgres::start().unwrap();
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("other", other.primary().url())
        .replica("same", postgres.primary().url())
        .connect()
        .await
        .unwrap();
    for id in ["other", "same"] {
        assert!(
            reason(&db, id).contains("takes writes"),
            "{}",
            reason(&db, id)
        );
    }
    for _ in 0..10 {
        assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    }
    db.execute_unprepared("insert into event (name) values ('a')")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_primaries_of_the_same_age_one_is_fenced_and_writes_stay_with_the_other() {
    let postgres = private(2);
    let db = builder_for(&postgres).connect().await.unwrap();
    postgres.primary().kill().unwrap();
    for replica in postgres.replicas() {
        replica.promote().unwrap();
    }
    eventually(LIMIT, || {
        ["r1", "r2"]
            .into_iter()
            .any(|id| reason(&db, id).contains("takes writes"))
    });
    let chosen = db.status().primary().id.clone();
    let place = usize::from(chosen == "r2");
    for _ in 0..50 {
        let took = ask::<i32>(&db, INSERT).await.unwrap();
        assert_eq!(took, port(postgres.replica(place)));
        assert_eq!(who_reads(&db).await.unwrap(), took);
    }
    assert_eq!(db.status().primary().id, chosen);
    let rows = postgres.replica(1 - place);
    let rows = rows.psql("select count(*) from event").unwrap();
    assert_eq!(rows, "0", "the fenced node took a write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_turned_read_only_loses_its_connections() {
    read_only_loses_its_connections(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_refuses_the_write_of_a_transaction_loses_its_connections() {
    read_only_loses_its_connections(true).await;
}

/// What took the insert, by itself or in a transaction.
async fn insert(db: &Cluster, in_transaction: bool) -> Result<i32, DbErr> {
    if !in_transaction {
        return ask(db, INSERT).await;
    }
    let tx = db.begin().await?;
    let took = ask(&tx, INSERT).await?;
    tx.commit().await?;
    Ok(took)
}

async fn read_only_loses_its_connections(in_transaction: bool) {
    let postgres = private(1);
    let target = Arc::new(AtomicU16::new(postgres.primary().port()));
    // A name or an address that moves to the new primary, while old connections stay where they are.
    let moved = Arc::new(AtomicUsize::new(0));
    let address = serving("127.0.0.1:0", {
        let (target, moved) = (Arc::clone(&target), Arc::clone(&moved));
        let new = postgres.replica(0).port();
        move |mut here| {
            let place = (Ipv4Addr::LOCALHOST, target.load(Ordering::Relaxed));
            moved.fetch_add(usize::from(place.1 == new), Ordering::Relaxed);
            async move {
                let mut there = TcpStream::connect(place).await.unwrap();
                let _ended = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            }
        }
    })
    .await;
    let url = format!("postgres://postgres@{address}/postgres");
    // One connection, so that none is opened to the new primary by chance.
    let pool = patient().max(1).max_uses(None);
    let db = cluster().primary(url).pool(pool);
    let db = db.connect().await.unwrap();
    let write = || insert(&db, in_transaction);
    assert_eq!(write().await.unwrap(), port(postgres.primary()));

    postgres.replica(0).promote().unwrap();
    target.store(postgres.replica(0).port(), Ordering::Relaxed);
    for sql in [
        "alter system set default_transaction_read_only = on",
        "select pg_reload_conf()",
    ] {
        postgres.primary().psql(sql).unwrap();
    }
    let begun = Instant::now();
    let refusal = loop {
        match write().await {
            Ok(took) => assert_eq!(
                took,
                port(postgres.primary()),
                "the setting is not there yet"
            ),
            Err(refusal) => break refusal.to_string(),
        }
        assert!(begun.elapsed() < LIMIT, "the old primary took every write");
    };
    assert!(refusal.contains("read-only"), "{refusal}");
    assert_eq!(
        write().await.unwrap(),
        port(postgres.replica(0)),
        "the next write goes to the new primary"
    );
    // One for writes and one for the probes, which would go on about the old server otherwise.
    eventually(LIMIT, || moved.load(Ordering::Relaxed) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_another_cluster_is_refused_in_words() {
    let postgres = private(0);
    let other = Postgres::builder().stranger().replicas(1).start().unwrap();
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("standby", other.replica(0).url())
        .replica("leader", other.primary().url())
        .connect()
        .await
        .unwrap();
    for id in ["standby", "leader"] {
        let reason = reason(&db, id);
        assert!(reason.contains("belongs to another cluster"), "{reason}");
    }
    for _ in 0..10 {
        assert_eq!(who_reads(&db).await.unwrap(), port(postgres.primary()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_outlives_a_fail_over_is_not_committed_on_the_old_primary() {
    let postgres = private(1);
    let db = builder_for(&postgres).connect().await.unwrap();
    let tx = db.begin().await.unwrap();
    tx.execute_unprepared(INSERT).await.unwrap();
    postgres.replica(0).promote().unwrap();
    eventually(LIMIT, || db.status().primary().id == "r1");
    let error = tx.execute_unprepared(INSERT).await.unwrap_err().to_string();
    assert!(error.contains("another node became the primary"), "{error}");
    let error = tx.commit().await.unwrap_err();
    assert!(
        !Error::outcome_is_unknown(&error),
        "it was not asked: {error}"
    );
    let rows = postgres.primary().psql("select count(*) from event");
    assert_eq!(
        rows.unwrap(),
        "0",
        "no write of a dead history was told as done"
    );
}
