//! When a connection is tested before use, by what goes over the wire.

use std::sync::Arc;
use std::time::Duration;

use bilten_testbed::{FaultProxy, eventually_async};
use metrics::Histogram;
use sqlx::Postgres;
use tokio::time::timeout;

use super::pool::SqlxPool;
use super::{Backend as _, Driver as _};
use crate::PoolConfig;

const LIMIT: Duration = Duration::from_secs(60);
const STATEMENTS: u64 = 20;
/// The question to which a server only says that it is there.
const SYNC: u64 = 5;

/// What some statements send, one after another on one connection, which is back in its pool before each.
async fn sent(url: &str, ping_if_idle: Option<Duration>) -> u64 {
    let address = Postgres::address(&Postgres::parse(url).unwrap());
    let proxy = FaultProxy::to_blocking(address.parse().unwrap()).unwrap();
    let through = proxy.url_like(url).unwrap();
    let config = PoolConfig::default().max(1).min(1).connect_timeout(LIMIT);
    let config = config.idle_timeout(None).max_lifetime(None).max_uses(None);
    let pool = SqlxPool::<Postgres>::new(
        Arc::from("primary"),
        Postgres::parse(&through).unwrap(),
        config.ping_if_idle(ping_if_idle),
        false,
        Arc::default(),
        Histogram::noop(),
    );
    pool.fill().await.unwrap();
    let is_back = || async { pool.load().idle == 1 };
    eventually_async(LIMIT, is_back).await;
    let before = proxy.bytes_up();
    for _ in 0..STATEMENTS {
        pool.execute_unprepared("select 1", false).await.unwrap();
        eventually_async(LIMIT, is_back).await;
    }
    proxy.bytes_up() - before
}

#[tokio::test]
async fn a_connection_in_steady_use_is_not_tested() {
    let postgres = bilten_testbed::shared::postgres().unwrap();
    let url = postgres.database("pings").unwrap().primary_url();
    let never = sent(&url, None).await;
    let steady = sent(&url, Some(10 * LIMIT)).await;
    assert_eq!(steady, never, "none of them was idle for so long");
    let always = sent(&url, Some(Duration::from_nanos(1))).await;
    assert_eq!(always, never + STATEMENTS * SYNC, "each was idle");
}

/// Both were forgotten on the way, and nobody knows it yet.
#[tokio::test]
async fn while_one_is_tested_no_other_is_used_untested() {
    let postgres = bilten_testbed::shared::postgres().unwrap();
    let url = postgres.database("pings_of_two").unwrap().primary_url();
    let address = Postgres::address(&Postgres::parse(&url).unwrap());
    let proxy = FaultProxy::to_blocking(address.parse().unwrap()).unwrap();
    let through = proxy.url_like(&url).unwrap();
    let config = PoolConfig::default().max(2).min(2);
    let config = config.idle_timeout(None).max_lifetime(None).max_uses(None);
    // A test of one of them takes longer than the pause after which others are looked for.
    let config = config.connect_timeout(Duration::from_secs(3));
    let config = config.acquire_timeout(LIMIT).query_timeout(2 * LIMIT);
    let pool = SqlxPool::<Postgres>::new(
        Arc::from("primary"),
        Postgres::parse(&through).unwrap(),
        config.ping_if_idle(Some(Duration::from_nanos(1))),
        false,
        Arc::default(),
        Histogram::noop(),
    );
    pool.fill().await.unwrap();
    let are_back = || async { pool.load().idle == 2 };
    eventually_async(LIMIT, are_back).await;
    proxy.strand_all();
    let answer = timeout(LIMIT, pool.execute_unprepared("select 1", false)).await;
    answer.expect("sent where nobody answers").unwrap();
}
