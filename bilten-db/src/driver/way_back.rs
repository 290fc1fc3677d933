//! The way of a connection back to its pool.

use std::future::Future;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::pool::{PoolConnection, PoolOptions};
use tokio::time::timeout;

use super::Driver;
use crate::patience::GIVEN_UP_LIMIT;

/// The driver tests each returned connection without a time limit. On a silent host, or behind a statement that goes on,
/// that would keep the permit as long.
pub(super) const RETURN_LIMIT: Duration = Duration::from_secs(2);

tokio::task_local! {
    /// Set where the whole return has its limit already.
    static IN_TIME: ();
}

/// Bounds the return of connections that were not on loan here: those of transactions, which go back by themselves. Looks
/// at them, and at those whose statement failed. One with a transaction that nobody has a handle of is closed, or the next writes on it would never be committed.
pub(super) fn return_in_time<D: Driver>(pool: PoolOptions<D>) -> PoolOptions<D> {
    if !D::DETACH {
        return pool;
    }
    pool.after_release(|conn, _| {
        Box::pin(async move {
            if IN_TIME.try_with(|()| ()).is_ok() {
                return Ok(true);
            }
            if !matches!(timeout(GIVEN_UP_LIMIT, conn.flush()).await, Ok(Ok(()))) {
                return Ok(false);
            }
            let tested = timeout(RETURN_LIMIT, D::is_outside_transactions(conn)).await;
            tested.unwrap_or(Err(sqlx::Error::PoolTimedOut))
        })
    })
}

/// What the pool of a connection was when it was asked for. Told apart later it could be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// How many pools the node had before this one.
    pub(crate) pools: u64,
    /// How often another server may have come to stand under the address when the pool was made.
    pub(crate) moves: u64,
    /// Whether its sessions take writes.
    pub(crate) writes: bool,
}

/// Takes one that is clean back to its pool.
///
/// # Cancellation
///
/// It is closed, its place in the pool free.
pub(super) fn back_in_time<D: Driver>(
    mut conn: PoolConnection<D>,
) -> impl Future<Output = ()> + Send + 'static {
    let back = conn.return_to_pool();
    IN_TIME.scope((), async move {
        // An error: it was closed.
        let _ = timeout(RETURN_LIMIT, back).await;
    })
}
