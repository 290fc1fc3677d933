//! A connection on loan, and what happens to it when the loan ends early.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::Connection;
use sqlx::pool::{PoolConnection, PoolOptions};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Driver;
use crate::fault::{Fault, Trouble, driver_trouble};
use crate::patience::GIVEN_UP_LIMIT;

/// The driver tests each returned connection without a time limit. On a silent host, or behind a statement that goes on,
/// that would keep the permit as long.
const RETURN_LIMIT: Duration = Duration::from_secs(2);

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// How often another server may have come to stand under the address when the pool was made.
    pub(crate) moves: u64,
    /// Whether its sessions take writes.
    pub(crate) writes: bool,
}

/// A connection that is thrown away unless it is known to be clean.
///
/// Dropped in the middle of a statement (a timeout, or a caller who went away), the connection leaves its pool, and its
/// permit is free at once.
pub(crate) struct Lease<D: Driver> {
    conn: Option<PoolConnection<D>>,
    max_uses: Option<u32>,
    /// How often the node had fallen silent when the connection was asked for.
    pub(crate) silences: u64,
    pub(crate) origin: Origin,
}

impl<D: Driver> Lease<D> {
    pub(crate) fn new(
        conn: PoolConnection<D>,
        max_uses: Option<u32>,
        silences: u64,
        origin: Origin,
    ) -> Self {
        Self {
            conn: Some(conn),
            max_uses,
            silences,
            origin,
        }
    }

    /// Ends the loan according to how the statement ended.
    pub(crate) fn settle<T>(
        mut self,
        outcome: Result<Result<T, sqlx::Error>, Fault>,
        wrap: fn(sqlx::Error) -> Fault,
    ) -> Result<T, Fault> {
        match outcome {
            Ok(Ok(value)) => {
                self.give_back(true);
                Ok(value)
            }
            Ok(Err(error)) => {
                if !matches!(driver_trouble(&error), Trouble::Lost | Trouble::Idled) {
                    // Several statements in one text may have begun a transaction before the one that failed.
                    self.give_back(false);
                }
                Err(wrap(error))
            }
            Err(fault) => Err(fault),
        }
    }

    /// One that may be in a transaction is looked at first.
    fn give_back(&mut self, is_clean: bool) {
        let Some(mut conn) = self.conn.take() else {
            return;
        };
        // A chance of 1 in `max_uses` each time makes `max_uses` the mean, without a counter per connection.
        if self
            .max_uses
            .is_some_and(|uses| fastrand::u32(0..uses) == 0)
        {
            conn.close_on_drop();
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let back = timeout(RETURN_LIMIT, conn.return_to_pool());
            if is_clean {
                runtime.spawn(IN_TIME.scope((), back));
            } else {
                runtime.spawn(back);
            }
        } else if D::DETACH {
            // The driver could not test it without a runtime either.
            drop(conn.detach());
        }
    }
}

impl<D: Driver> Deref for Lease<D> {
    type Target = D::Connection;

    fn deref(&self) -> &Self::Target {
        self.conn
            .as_deref()
            .unwrap_or_else(|| unreachable!("a lease holds its connection until it ends"))
    }
}

impl<D: Driver> DerefMut for Lease<D> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.conn
            .as_deref_mut()
            .unwrap_or_else(|| unreachable!("a lease holds its connection until it ends"))
    }
}

impl<D: Driver> Drop for Lease<D> {
    fn drop(&mut self) {
        if let Some(conn) = self.conn.take()
            && D::DETACH
        {
            drop(conn.detach());
        }
    }
}
