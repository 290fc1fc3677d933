//! A connection on loan, and what happens to it when the loan ends early.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;

use super::Driver;
use crate::fault::{Fault, Trouble, driver_trouble};

/// The driver tests each returned connection without a time limit; on a silent host that would keep the permit for ever.
const RETURN_LIMIT: Duration = Duration::from_secs(2);

/// A connection that is thrown away unless it is known to be clean.
///
/// Dropped in the middle of a statement (a timeout, or a caller who went away), the connection leaves its pool, and its
/// permit is free at once.
pub(crate) struct Lease<D: Driver> {
    conn: Option<PoolConnection<D>>,
    max_uses: Option<u32>,
    /// How often the node had fallen silent when the connection was asked for.
    pub(crate) silences: u64,
}

impl<D: Driver> Lease<D> {
    pub(crate) fn new(conn: PoolConnection<D>, max_uses: Option<u32>, silences: u64) -> Self {
        Self {
            conn: Some(conn),
            max_uses,
            silences,
        }
    }

    /// Ends the loan according to how the statement ended.
    pub(crate) fn settle<T>(
        self,
        outcome: Result<Result<T, sqlx::Error>, Fault>,
        wrap: fn(sqlx::Error) -> Fault,
    ) -> Result<T, Fault> {
        match outcome {
            Ok(Ok(value)) => {
                self.give_back();
                Ok(value)
            }
            Ok(Err(error)) => {
                if driver_trouble(&error) != Trouble::Lost {
                    self.give_back();
                }
                Err(wrap(error))
            }
            Err(fault) => Err(fault),
        }
    }

    /// Hands the connection over; the loan ends without a trace.
    pub(crate) fn into_inner(mut self) -> Option<PoolConnection<D>> {
        self.conn.take()
    }

    fn give_back(mut self) {
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
        let back = conn.return_to_pool();
        tokio::spawn(async move { tokio::time::timeout(RETURN_LIMIT, back).await.is_ok() });
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
