use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::Poll;

use bilten_testbed::{FaultProxy, eventually_async};
use futures_util::future::join_all;
use metrics::Histogram;
use sea_orm::{
    DatabaseConnection, DbBackend, Statement, TransactionOptions, TransactionTrait as _,
};
use sqlx::{Postgres, Sqlite};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::*;
use crate::PoolConfig;
use crate::driver::Backend as _;
use crate::driver::pool::SqlxPool;

const LIMIT: Duration = Duration::from_secs(20);
/// Nothing goes back by itself while a test runs.
const HOUR: Duration = Duration::from_secs(3600);

fn pool_of<D: Driver>(url: &str, config: PoolConfig) -> SqlxPool<D> {
    let options = D::parse(url).unwrap();
    let suspicion = Arc::default();
    let id = Arc::from("primary");
    SqlxPool::new(id, options, config, false, suspicion, Histogram::noop())
}

fn pool(config: PoolConfig) -> SqlxPool<Postgres> {
    let url = bilten_testbed::shared::postgres().unwrap().primary_url();
    // However long a login takes.
    pool_of(&url, config.max_uses(None).connect_timeout(LIMIT))
}

/// A pool at which a connection waits for as long as a test takes.
fn patient(max: u32) -> SqlxPool<Postgres> {
    let mut pool = pool(PoolConfig::default().max(max));
    pool.parking = Arc::new(Parking::of(Some(HOUR)));
    pool
}

async fn pid(pool: &SqlxPool<Postgres>) -> i32 {
    number(pool, DbBackend::Postgres, "select pg_backend_pid()").await
}

async fn number<D: Driver>(pool: &SqlxPool<D>, backend: DbBackend, sql: &str) -> i32
where
    <D::Connection as sqlx::Connection>::Options: Clone,
{
    let asked = Statement::from_string(backend, sql);
    let row = pool.query_one(&asked, false).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Opens three, which are in the pool then. Held at once: statements would share them where a login is slow.
async fn open_three(pool: &SqlxPool<Postgres>) {
    let (driver, _) = pool.pool();
    let opened = join_all((0..3).map(|_| driver.acquire())).await;
    assert!(opened.iter().all(Result::is_ok));
    drop(opened);
    until_back(pool, 3).await;
}

async fn until_back(pool: &SqlxPool<Postgres>, count: u32) {
    let all = || async { pool.parking.count() == 0 && pool.load().idle == count };
    eventually_async(LIMIT, all).await;
}

/// Whether it is not ready, asked once.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_pending())).await
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn statements_in_a_row_run_on_one_connection() {
    let pool = patient(3);
    open_three(&pool).await;
    let first = pid(&pool).await;
    let load = pool.load();
    assert_eq!((load.idle, load.parked), (2, 1));
    for _ in 0..20 {
        // The driver deals its idle ones in turn.
        assert_eq!(pid(&pool).await, first);
    }
}

#[tokio::test]
async fn what_nobody_takes_goes_back_after_a_moment() {
    let pool = pool(PoolConfig::default().max(3));
    open_three(&pool).await;
    for _ in 0..10 {
        pid(&pool).await;
        until_back(&pool, 3).await;
    }
}

/// The task that takes it back has no turn while its only thread is held up.
#[tokio::test]
async fn what_waited_for_longer_than_a_moment_serves_nobody() {
    let pool = pool(PoolConfig::default().max(3));
    open_three(&pool).await;
    let mut last = pid(&pool).await;
    // On a machine that is busy a statement takes too long for its connection to wait.
    while pool.parking.count() == 0 {
        last = pid(&pool).await;
    }
    std::thread::sleep(20 * MOMENT);
    assert_ne!(pid(&pool).await, last, "not asked whether it still works");
    until_back(&pool, 3).await;
}

#[tokio::test]
async fn after_a_long_statement_a_connection_goes_back_at_once() {
    let pool = pool(PoolConfig::default().max(1));
    let long = "select 1 from pg_sleep(0.02)";
    for _ in 0..3 {
        number(&pool, DbBackend::Postgres, long).await;
        assert_eq!(pool.parking.count(), 0);
    }
}

#[tokio::test]
async fn who_waits_for_a_full_pool_comes_first_and_nobody_else_does() {
    let pool = patient(2);
    let (driver, origin) = pool.pool();
    let now = Instant::now();
    let put = async || {
        let conn = driver.acquire().await.unwrap();
        pool.parking.put(conn, origin, now, &driver)
    };
    assert!(put().await.is_none() && put().await.is_none());
    // Of a pool that may open one more nobody waits for another's.
    let (first, queued) = pool.parking.come_first(origin, false);
    assert!(first.is_some() && queued.is_none());
    let (second, _) = pool.parking.take(origin, &driver).unwrap();
    assert!(pool.parking.put(second, origin, now, &driver).is_none());
    // Whoever comes gets what is there, or stands before all others.
    let (second, queued) = pool.parking.come_first(origin, true);
    let back = pool.parking.put(second.unwrap(), origin, now, &driver);
    assert!(back.is_some());
    drop(back);
    drop(first);
    drop(queued);
    let back = || async { pool.load().idle > 0 };
    eventually_async(LIMIT, back).await;
    assert!(put().await.is_none());
    let queued = pool.parking.come_first(Origin { pools: 9, ..origin }, true);
    assert!(queued.0.is_none(), "of another pool");
    assert!(
        pool.parking.take(origin, &driver).is_none(),
        "somebody waits"
    );
    drop(queued);
    assert!(pool.parking.take(origin, &driver).is_some());
}

#[tokio::test]
async fn a_transaction_takes_what_waits_only_where_the_pool_has_none() {
    let pool = patient(3);
    open_three(&pool).await;
    pid(&pool).await;
    let begin = || pool.begin(TransactionOptions::default());
    let [first, second] = [begin().await.unwrap(), begin().await.unwrap()];
    assert_eq!(pool.load().parked, 1, "two others were idle");
    let third = begin().await.unwrap();
    assert_eq!((pool.load().parked, pool.load().size), (0, 3));
    drop((first, second, third));
}

#[tokio::test]
async fn whoever_waits_for_a_connection_gets_one_from_those_who_go_on_and_on() {
    let pool = pool(PoolConfig::default().max(1));
    for is_known in [true, false] {
        let is_done = AtomicBool::new(false);
        let begin = async {
            match is_known {
                true => drop(pool.begin(TransactionOptions::default()).await.unwrap()),
                false => drop(pool.connection().begin().await.unwrap()),
            }
            is_done.store(true, Ordering::Relaxed);
        };
        let go_on = async {
            let mut statements = 0;
            while !is_done.load(Ordering::Relaxed) {
                assert!(statements < 100_000, "nobody else gets it: {is_known}");
                pid(&pool).await;
                statements += 1;
            }
        };
        tokio::join!(go_on, begin);
    }
}

/// Its connection went to somebody who waited longer, so that one was idle when it came and none when it asked.
#[tokio::test]
async fn who_finds_an_idle_connection_given_to_another_comes_first_all_the_same() {
    let pool = patient(1);
    let (driver, origin) = pool.pool();
    let first = driver.acquire().await.unwrap();
    let mut other = Box::pin(driver.acquire());
    assert!(is_pending(&mut other).await);
    drop(first);
    let is_idle = || async { driver.num_idle() == 1 };
    eventually_async(LIMIT, is_idle).await;
    let mut begin = Box::pin(pool.begin(TransactionOptions::default()));
    assert!(is_pending(&mut begin).await);
    let other = other.await.unwrap();
    let back = pool.parking.put(other, origin, Instant::now(), &driver);
    assert!(back.is_some(), "somebody waits");
    drop(back);
    timeout(LIMIT, begin).await.unwrap().unwrap();
}

/// Through a handle, somebody may wait for a full pool of whom nobody knows.
#[tokio::test]
async fn nothing_waits_of_a_full_pool_while_somebody_has_a_handle_of_it() {
    let pool = patient(1);
    pid(&pool).await;
    assert_eq!(pool.parking.count(), 1);
    let handle = pool.connection();
    assert_eq!(pool.parking.count(), 0, "somebody may come for it now");
    let kept = handle.clone();
    drop(handle);
    for _ in 0..3 {
        pid(&pool).await;
        assert_eq!(pool.parking.count(), 0);
    }
    let tx = kept.begin().await.unwrap();
    drop(kept);
    tx.commit().await.unwrap();
    pid(&pool).await;
    assert_eq!(pool.parking.count(), 1, "nobody has one any more");
}

#[tokio::test]
async fn what_waits_of_a_pool_that_became_empty_goes_to_who_may_have_a_handle() {
    let pool = patient(2);
    let (driver, _) = pool.pool();
    join_all((0..2).map(|_| pool.sample())).await;
    let handle = pool.connection();
    let both_are_back = || async { driver.num_idle() == 2 };
    eventually_async(LIMIT, both_are_back).await;
    pid(&pool).await;
    assert_eq!(pool.parking.count(), 1, "there is another one");
    let _other = driver.acquire().await.unwrap();
    let mut waits = Box::pin(handle.begin());
    assert!(is_pending(&mut waits).await);
    // It comes later, and must not be the first.
    let mut late = Box::pin(pid(&pool));
    assert!(is_pending(&mut late).await);
    assert_eq!(pool.parking.count(), 0);
    let tx = timeout(LIMIT, waits).await.unwrap().unwrap();
    assert!(is_pending(&mut late).await);
    tx.rollback().await.unwrap();
    timeout(LIMIT, late).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_asked_with_those_of_the_pool_whether_its_server_is_there() {
    let url = bilten_testbed::shared::postgres().unwrap().primary_url();
    let address = Postgres::address(&Postgres::parse(&url).unwrap());
    let proxy = FaultProxy::to_blocking(address.parse().unwrap()).unwrap();
    let config = PoolConfig::default().max(1).max_uses(None);
    let mut pool = pool_of::<Postgres>(&proxy.url_like(&url).unwrap(), config);
    pool.parking = Arc::new(Parking::of(Some(HOUR)));
    pid(&pool).await;
    assert_eq!(pool.sift().await.answered, 1);
    let is_idle = || async { pool.load().idle == 1 };
    eventually_async(LIMIT, is_idle).await;
    pid(&pool).await;
    assert_eq!(pool.parking.count(), 1);
    proxy.strand_all();
    let sifted = pool.sift().await;
    assert_eq!((sifted.answered, sifted.used), (0, 0));
    assert_eq!((pool.load().size, pool.parking.count()), (0, 0));
}

#[tokio::test]
async fn nothing_waits_of_a_pool_that_was_given_up_or_closed() {
    let pool = patient(3);
    let first = pid(&pool).await;
    pool.discard();
    assert_eq!(pool.parking.count(), 0);
    assert_ne!(pid(&pool).await, first);
    assert_eq!(pool.parking.count(), 1);
    timeout(LIMIT, pool.close()).await.unwrap();
    assert_eq!(pool.parking.count(), 0);
    assert!(pool.sample().await.is_err());
}

/// It was sent before the pool is closed, and answered after that.
#[tokio::test]
async fn a_statement_that_ends_while_its_pool_is_closed_keeps_nobody_waiting() {
    let pool = patient(2);
    let asked = loop {
        pid(&pool).await;
        let mut asked = Box::pin(pid(&pool));
        match poll_fn(|context| Poll::Ready(asked.as_mut().poll(context))).await {
            Poll::Pending => break asked,
            // So quick was the server.
            Poll::Ready(_) => {}
        }
    };
    let mut closing = Box::pin(pool.close());
    let begun = poll_fn(|context| Poll::Ready(closing.as_mut().poll(context))).await;
    assert!(begun.is_pending(), "one is in use");
    asked.await;
    assert_eq!(pool.parking.count(), 0);
    timeout(LIMIT, closing).await.unwrap();
    assert_eq!(pool.load().size, 0);
    assert!(pool.sample().await.is_err());
}

#[tokio::test]
async fn raw_text_that_leaves_a_transaction_open_does_not_wait_for_the_next_statement() {
    let pool = patient(2);
    for text in ["begin", "select 1; begin", "begin; select 1"] {
        pool.execute_unprepared(text, false).await.unwrap();
        assert_eq!(pool.parking.count(), 0, "{text}");
        let end = "rollback";
        pool.execute_unprepared(end, false).await.unwrap();
        assert_eq!(pool.parking.count(), 0, "{text}");
    }
}

#[tokio::test]
async fn where_each_is_to_be_pinged_and_after_raw_text_nothing_waits() {
    let pinged = pool(PoolConfig::default().ping_if_idle(Duration::ZERO));
    pinged.sample().await.unwrap();
    assert_eq!(pinged.parking.count(), 0);
    let raw = patient(1);
    raw.execute_unprepared("begin; rollback", false)
        .await
        .unwrap();
    assert_eq!(raw.parking.count(), 0);
}

#[test]
fn what_waits_of_a_runtime_that_ended_serves_nobody() {
    let pool = runtime().block_on(async {
        let pool = patient(1);
        pool.sample().await.unwrap();
        assert_eq!(pool.parking.count(), 1);
        pool
    });
    assert_eq!((pool.parking.count(), pool.load().size), (0, 0));
    runtime().block_on(async { pool.sample().await.unwrap() });
}

/// What takes connections back is a task of the first, whosever they are.
#[test]
fn a_runtime_that_ends_leaves_nothing_behind_and_another_goes_on() {
    for is_of_another in [false, true] {
        let (first, second) = (runtime(), runtime());
        let pool = first.block_on(async { patient(2) });
        let own = first.block_on(pid(&pool));
        let last = match is_of_another {
            false => own,
            true => {
                first.block_on(async { pool.discard() });
                second.block_on(pid(&pool))
            }
        };
        assert_eq!(pool.parking.count(), 1);
        drop(first);
        assert_eq!((pool.parking.count(), pool.load().size), (0, 0));
        let sessions = format!("({own}, {last})");
        let sessions =
            format!("select count(*)::int from pg_stat_activity where pid in {sessions}");
        second.block_on(async {
            for _ in 0..20 {
                assert!(![own, last].contains(&pid(&pool).await));
            }
            let none = || async { number(&pool, DbBackend::Postgres, &sessions).await == 0 };
            eventually_async(LIMIT, none).await;
        });
    }
}

/// A database with one connection; what waits goes back when the runtime ends, or is run.
fn in_memory(moment: Duration) -> SqlxPool<Sqlite> {
    let mut pool = runtime().block_on(async {
        let config = PoolConfig::default().max(1).max_lifetime(None);
        pool_of::<Sqlite>("sqlite::memory:", config.idle_timeout(None).max_uses(None))
    });
    pool.parking = Arc::new(Parking::of(Some(moment)));
    pool
}

async fn begins(pool: &SqlxPool<Sqlite>, handle: Option<&DatabaseConnection>) {
    let begun = async {
        match handle {
            Some(handle) => drop(handle.begin().await.unwrap()),
            None => drop(pool.begin(TransactionOptions::default()).await.unwrap()),
        }
    };
    timeout(LIMIT, begun).await.unwrap();
}

#[test]
fn what_waits_of_an_embedded_database_is_there_for_all_when_the_runtime_ends() {
    let pool = in_memory(HOUR);
    for is_handle in [false, true] {
        let first = runtime();
        first.block_on(pool.sample()).unwrap();
        assert_eq!(pool.parking.count(), 1);
        drop(first);
        assert_eq!((pool.parking.count(), pool.load().idle), (0, 1));
        let second = runtime();
        second.block_on(async {
            let handle = is_handle.then(|| pool.connection());
            begins(&pool, handle.as_ref()).await;
            let is_idle = || async { pool.load().idle == 1 };
            eventually_async(LIMIT, is_idle).await;
        });
    }
}

/// Nobody runs the one that takes it back, and it is there.
#[test]
fn what_waits_in_a_runtime_that_nobody_runs_is_there_for_whoever_begins() {
    let pool = in_memory(MOMENT);
    for is_handle in [false, true] {
        let first = runtime();
        first.block_on(async {
            // On a machine that is busy a statement takes too long for its connection to wait.
            while pool.parking.count() == 0 {
                pool.sample().await.unwrap();
            }
        });
        std::thread::sleep(20 * MOMENT);
        assert_eq!(pool.parking.count(), 1);
        let second = runtime();
        second.block_on(async {
            let handle = is_handle.then(|| pool.connection());
            begins(&pool, handle.as_ref()).await;
        });
        // Back in the pool before its runtime ends, which would close it.
        let is_idle = || async { pool.load().idle == 1 };
        second.block_on(eventually_async(LIMIT, is_idle));
    }
}

#[test]
fn a_database_in_memory_outlives_the_runtime_that_used_it() {
    let pool = in_memory(HOUR);
    let first = runtime();
    first.block_on(async {
        let table = Statement::from_string(DbBackend::Sqlite, "create table a as select 7 as n");
        pool.execute(&table, false).await.unwrap();
        assert_eq!(number(&pool, DbBackend::Sqlite, "select n from a").await, 7);
    });
    assert_eq!(pool.parking.count(), 1);
    drop(first);
    let again = number(&pool, DbBackend::Sqlite, "select n from a");
    assert_eq!(runtime().block_on(again), 7);
}
