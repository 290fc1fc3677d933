//! Questions about the start of a server, which wait for nothing that waits for them.

use std::time::{Duration, Instant};

use bilten_db::retry::HedgeConfig;
use bilten_db::scope::{Freshness, with_freshness};
use bilten_db::sea_orm::{AccessMode, DatabaseBackend, Statement, StreamTrait, TransactionTrait};
use bilten_db::{Fallback, PoolConfig};
use bilten_testbed::{Direction, FaultProxy, eventually};
use futures_util::TryStreamExt;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::fixture::{LIMIT, builder_for, cluster, port, private, who_reads};

/// What may not be waited for.
const FAR: Duration = Duration::from_secs(600);
const CALLERS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_every_connection_was_opened_at_once_by_a_stream_stands_not_still() {
    let postgres = private(1);
    let most = u32::try_from(CALLERS).unwrap();
    let pool = PoolConfig::default().max(most).connect_timeout(FAR);
    let pool = pool.acquire_timeout(FAR);
    let db = builder_for(&postgres).pool(pool).fallback(Fallback::Error);
    let db = db.connect().await.unwrap();
    let all_there = std::sync::Arc::new(Barrier::new(CALLERS));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let (db, all_there) = (db.clone(), std::sync::Arc::clone(&all_there));
        callers.spawn(async move {
            let session = db.session();
            if n % 2 == 0 {
                let read_only = Some(AccessMode::ReadOnly);
                let tx = session.begin_with_config(None, read_only).await.unwrap();
                // Nobody lets go before everybody has one.
                all_there.wait().await;
                return who_reads(&tx).await.unwrap();
            }
            let sql = "select inet_server_port() from generate_series(1, 3)";
            let sql = Statement::from_string(DatabaseBackend::Postgres, sql);
            let rows = session.stream_raw(sql).await.unwrap();
            all_there.wait().await;
            let rows: Vec<_> = rows.try_collect().await.unwrap();
            rows[0].try_get_by_index(0).unwrap()
        });
    }
    let ports = callers.join_all().await;
    let replica = port(postgres.replica(0));
    assert!(ports.iter().all(|from| *from == replica), "{ports:?}");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedged_read_that_demands_something_asks_the_node_that_answered() {
    let postgres = private(2);
    let proxy = FaultProxy::to_blocking(postgres.replica(0).addr()).unwrap();
    let slow = proxy.url_like(&postgres.replica(0).url()).unwrap();
    let pool = PoolConfig::default().max(1).connect_timeout(FAR);
    let db = cluster()
        .primary(postgres.primary().url())
        .replica("r1", slow)
        .replica("r2", postgres.replica(1).url())
        .pool(pool.query_timeout(Some(FAR)))
        .hedge(HedgeConfig::after(Duration::from_millis(30)))
        .connect()
        .await
        .unwrap();
    let hour = Freshness::MaxLag(Duration::from_secs(3600));
    let read = || with_freshness(hour, who_reads(&db));
    eventually(LIMIT, || db.status().replicas().all(|r| r.lag.is_some()));
    for _ in 0..4 {
        read().await.unwrap();
    }
    proxy.blackhole(Direction::Both);
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(read().await.unwrap(), port(postgres.replica(1)));
    }
    // A new connection to r1 would be waited for much longer.
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}
