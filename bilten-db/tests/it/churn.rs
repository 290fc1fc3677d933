//! Nodes that come and go under load, while callers leave at any moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_db::page::{Keyset, KeysetRequest};
use bilten_db::retry::HedgeConfig;
use bilten_db::sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, EntityTrait, Statement, StreamTrait, TransactionTrait,
};
use bilten_db::status::Rotation;
use bilten_db::{Cluster, Fallback};
use bilten_testbed::{Postgres, PostgresNode, eventually_async};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::fixture::{LIMIT, ask, builder_for, event, patient, private};

const ROUNDS: u64 = 16;

/// What one caller may find wrong.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn expect(fits: bool, what: impl FnOnce() -> String) -> Outcome {
    if fits { Ok(()) } else { Err(what().into()) }
}

/// Sees its own write, and so does whoever comes with its token.
async fn write(db: &Cluster, name: &str) -> Outcome {
    let session = db.session();
    let insert = format!("insert into event (name) values ('{name}')");
    session.execute_unprepared(&insert).await?;
    let count = format!("select count(*) from event where name = '{name}'");
    let seen: i64 = ask(&session, &count).await?;
    expect(seen == 1, || format!("{name} is there {seen} times"))?;
    let next = db.session_with(session.token().await?.ok_or("no token")?);
    let seen: i64 = ask(&next, &count).await?;
    expect(seen == 1, || {
        format!("{name} is there {seen} times for the next")
    })
}

async fn read_on(db: &Cluster) -> Outcome {
    let session = db.session();
    let mut last = 0;
    for _ in 0..5 {
        let now: i64 = ask(&session, "select count(*) from event").await?;
        expect(now >= last, || format!("{now} rows after {last}"))?;
        last = now;
    }
    Ok(())
}

async fn stream(db: &Cluster) -> Outcome {
    let sql = "select n, pg_sleep(0.0005)::text, repeat('x', 500) from generate_series(1, 200) n";
    let rows = db.stream_raw(Statement::from_string(DbBackend::Postgres, sql));
    let rows: Vec<_> = rows.await?.try_collect().await?;
    expect(rows.len() == 200, || format!("{} rows of 200", rows.len()))
}

async fn read_in_a_transaction(db: &Cluster) -> Outcome {
    let tx = db
        .begin_with_config(None, Some(AccessMode::ReadOnly))
        .await?;
    for _ in 0..2 {
        ask::<bool>(&tx, "select pg_sleep(0.01) is null").await?;
    }
    Ok(tx.commit().await?)
}

/// Leaves in the middle of whatever it does.
async fn leave(db: &Cluster, after: Duration) -> Outcome {
    drop(timeout(after, ask::<bool>(db, "select pg_sleep(0.004) is null")).await);
    drop(timeout(after, read_in_a_transaction(db)).await);
    drop(timeout(after, db.begin()).await);
    Ok(())
}

async fn call(db: &Cluster, kind: u64, n: u64) -> Outcome {
    match kind % 6 {
        0 => write(db, &format!("w{kind}-{n}")).await,
        1 => read_on(db).await,
        2 => stream(db).await,
        3 => read_in_a_transaction(db).await,
        4 => {
            let page = Keyset::new(event::Entity::find()).page(db, KeysetRequest::new(5));
            Ok(page.await.map(drop)?)
        }
        _ => leave(db, Duration::from_millis(n % 7)).await,
    }
}

/// Out, in, and left to the cluster again.
async fn order(db: &Cluster) {
    for n in 0..ROUNDS {
        match n % 4 {
            0 => assert!(db.drain("r1", LIMIT).await.unwrap()),
            2 => drop(timeout(Duration::from_millis(n % 5), db.drain("r1", LIMIT)).await),
            1 => db.order("r1", Rotation::Auto).unwrap(),
            _ => db.order("r1", Rotation::In).unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(n % 30)).await;
    }
    db.order("r1", Rotation::Auto).unwrap();
}

/// Leaves with what runs there, and is back under its name at once.
async fn replace(db: &Cluster, postgres: &Postgres) {
    for n in 0..ROUNDS {
        let drain = Duration::from_millis([0, 5, 5000][(n % 3) as usize]);
        db.remove_replica("r2", drain).await.unwrap();
        let url = postgres.replica(1).url();
        db.add_replica("r2", url).await.unwrap();
    }
}

/// Operators who lose their patience.
async fn come_and_go(db: &Cluster, postgres: &Postgres) {
    for n in 0..ROUNDS {
        let patience = if n % 3 == 0 { n % 9 } else { 60_000 };
        let patience = Duration::from_millis(patience);
        let url = postgres.replica((n % 2) as usize).url();
        let add = db.add_replica(format!("c{}", n % 4), url);
        drop(timeout(patience, add).await);
        let id = format!("c{}", (n + 2) % 4);
        drop(
            timeout(
                patience,
                db.remove_replica(&id, Duration::from_millis(n % 60)),
            )
            .await,
        );
    }
}

fn sessions_on(node: &PostgresNode) -> u64 {
    let sql = "select count(*) from pg_stat_activity \
        where backend_type = 'client backend' and pid <> pg_backend_pid()";
    node.psql(sql).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_and_go_under_load_cost_no_caller_anything() {
    let postgres = private(2);
    let pool = patient().max(6);
    // For moments no replica is there; how many of the reads the primary then takes is not what this is about.
    let everybody = Fallback::Primary { max_in_flight: 100 };
    let db = builder_for(&postgres)
        .pool(pool)
        .fallback(everybody)
        .hedge(HedgeConfig::after(Duration::from_millis(20)).percent(50))
        .connect()
        .await
        .unwrap();
    let stop = AtomicBool::new(false);
    let caller = async |kind: u64| {
        let (mut n, mut wrong) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            n += 1;
            let outcome = call(&db, kind, n).await;
            wrong.extend(outcome.err().map(|error| error.to_string()));
        }
        assert!(n > 1, "kind {kind} was never done");
        wrong
    };
    let operators = async {
        tokio::join!(
            order(&db),
            replace(&db, &postgres),
            come_and_go(&db, &postgres)
        );
        stop.store(true, Ordering::Relaxed);
    };
    let (wrong, ()) = tokio::join!(join_all((0..18).map(caller)), operators);
    assert_eq!(wrong.concat(), Vec::<String>::new());

    eventually_async(LIMIT, || async {
        let is_quiet = |n: &bilten_db::status::NodeStatus| {
            n.is_up() && n.in_flight == 0 && n.pool.size == n.pool.idle
        };
        db.status().nodes.iter().all(is_quiet)
    })
    .await;
    assert!(db.close_within(LIMIT).await);
    let servers = || postgres.replicas().iter().chain([postgres.primary()]);
    eventually_async(LIMIT, || async {
        servers().all(|node| sessions_on(node) == 0)
    })
    .await;
}
