//! A connection on loan, and what happens to it when the loan ends early.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::Driver;
use super::parking::Parking;
use super::way_back::{Origin, RETURN_LIMIT, back_in_time};
use crate::fault::{Fault, Trouble, driver_trouble};

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
    /// Where it may wait for the next statement.
    parking: Option<Place<D>>,
}

/// Where a connection may wait, when it left its pool, and which that is.
struct Place<D: Driver> {
    parking: Arc<Parking<D>>,
    out: Instant,
    pool: Pool<D>,
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
            parking: None,
        }
    }

    /// It may wait there for the next statement; it left its pool at `out`.
    pub(super) fn parked_at(
        mut self,
        parking: &Arc<Parking<D>>,
        out: Instant,
        pool: Pool<D>,
    ) -> Self {
        let parking = Arc::clone(parking);
        self.parking = Some(Place { parking, out, pool });
        self
    }

    /// What runs on it may leave something behind that is not for the next statement.
    pub(super) fn alone(mut self) -> Self {
        self.parking = None;
        self
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
        if is_clean && let Some(place) = &self.parking {
            match place.parking.put(conn, self.origin, place.out, &place.pool) {
                Some(back) => conn = back,
                None => return,
            }
        }
        if let Ok(runtime) = Handle::try_current() {
            if is_clean {
                runtime.spawn(back_in_time(conn));
            } else {
                runtime.spawn(timeout(RETURN_LIMIT, conn.return_to_pool()));
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
