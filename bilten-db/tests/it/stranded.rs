//! Connections that die in silence, one by one, while the server is well: a firewall forgot them.

use std::time::{Duration, Instant};

use bilten_db::sea_orm::{ConnectionTrait, TransactionTrait};
use bilten_db::{Cluster, PoolConfig};
use bilten_testbed::{FaultProxy, Postgres, eventually};
use futures_util::future::join_all;

use crate::fixture::{LIMIT, ask, private, seen};

/// What may not be waited for.
const FAR: Duration = Duration::from_secs(120);

/// A cluster whose primary is behind a proxy, with so many connections open.
async fn through_a_proxy(pool: PoolConfig, open: u32) -> (Postgres, FaultProxy, Cluster) {
    let postgres = private(0);
    let proxy = FaultProxy::to_blocking(postgres.primary().addr()).unwrap();
    let url = proxy.url_like(&postgres.primary().url()).unwrap();
    let db = Cluster::builder().primary(url).pool(pool.max(4));
    let db = db.connect().await.unwrap();
    let slow = "select 1 from pg_sleep(0.2)";
    let all = join_all((0..open).map(|_| ask::<i32>(&db, slow))).await;
    assert!(all.iter().all(Result::is_ok));
    eventually(LIMIT, || seen(&db, "primary").pool.idle == open);
    (postgres, proxy, db)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_forgotten_on_the_way_leave_their_pool_unasked() {
    let pool = PoolConfig::default().query_timeout(Some(FAR));
    let (_postgres, proxy, db) = through_a_proxy(pool, 4).await;
    proxy.strand_all();
    // Nobody reads or writes: the probe alone finds it out.
    eventually(LIMIT, || seen(&db, "primary").pool.size == 0);
    let begun = Instant::now();
    for _ in 0..4 {
        let write = "insert into event (name) values ('a')";
        db.execute_unprepared(write).await.unwrap();
    }
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert_eq!(seen(&db, "primary").ejections, 0, "the server is well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_without_an_answer_is_no_full_pool() {
    let pool = PoolConfig::default()
        .acquire_timeout(Duration::from_millis(300))
        .query_timeout(Some(Duration::from_secs(2)));
    let (_postgres, proxy, db) = through_a_proxy(pool, 1).await;
    proxy.strand_all();
    let begun = Instant::now();
    let error = db.begin().await.err().unwrap().to_string();
    assert!(error.contains("query_timeout (2s)"), "{error}");
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    db.begin().await.unwrap().rollback().await.unwrap();
}
