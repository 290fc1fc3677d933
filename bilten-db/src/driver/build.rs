//! A pool of sqlx with the settings of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool};
use tokio::time::timeout;

use super::way_back::return_in_time;
use super::{ConnectOptions, Driver, taken};
use crate::PoolConfig;

/// Opens nothing yet; `opened` counts the connections.
pub(super) fn build<D: Driver>(
    options: &D::Options,
    config: &PoolConfig,
    read_only: bool,
    opened: &Arc<AtomicU64>,
) -> Pool<D> {
    let session: ConnectOptions<D> = D::session(options, config, read_only);
    let pool = PoolOptions::<D>::new()
        .max_connections(config.max)
        // The pool's own way to keep some begins late, goes on for half a minute after the last handle is gone, and
        // says nothing when it is refused: see `keep`.
        .min_connections(0)
        .idle_timeout(config.idle_timeout)
        .max_lifetime(config.max_lifetime)
        // The budgets are kept by the callers of the pool; this only bounds connections in the background.
        .acquire_timeout(config.acquire_timeout.max(config.connect_timeout))
        .test_before_acquire(false);
    let pool = ping_if_idle(return_in_time(pool), config);
    let (config, opened) = (Arc::new(config.clone()), Arc::clone(opened));
    let pool = pool.after_connect(move |conn, _| {
        let config = Arc::clone(&config);
        opened.fetch_add(1, Ordering::Release);
        Box::pin(async move {
            let greeted = D::greet(conn, &config, read_only).await;
            greeted.inspect(|()| taken::note())
        })
    });
    pool.connect_lazy_with(session)
}

/// A connection long unused may be dead; one in steady use shows it by itself.
fn ping_if_idle<D: Driver>(pool: PoolOptions<D>, config: &PoolConfig) -> PoolOptions<D> {
    let threshold = config.ping_if_idle;
    let limit = config.connect_timeout;
    pool.before_acquire(move |conn, meta| {
        Box::pin(async move {
            let is_fresh = threshold.is_none_or(|threshold| meta.idle_for < threshold);
            let answers = match is_fresh {
                true => true,
                false => match timeout(limit, conn.ping()).await {
                    Ok(answer) => answer.map(|()| true)?,
                    Err(_) => false,
                },
            };
            if answers {
                taken::note();
            }
            Ok(answers)
        })
    })
}
