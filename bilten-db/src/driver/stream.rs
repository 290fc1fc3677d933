//! The rows of a query as they come, on a connection that goes back clean or not at all.

use std::sync::atomic::Ordering;

use futures_util::{Stream, TryStreamExt as _};
use sea_orm::{DbErr, QueryResult, Statement};

use super::lease::Lease;
use super::{Driver, query_err};
use crate::fault::Fault;

/// Dropped while it waits for a row, it throws the connection away; dropped between two rows, it gives the connection
/// back if the server is soon done.
pub(super) fn stream<D: Driver>(
    mut lease: Lease<D>,
    stmt: Statement,
) -> impl Stream<Item = Result<QueryResult, DbErr>> + Send + 'static {
    async_stream::stream! {
        let rests = lease.rests();
        let outcome = {
            let mut rows = D::fetch(&mut lease, &stmt);
            loop {
                match rows.try_next().await {
                    Ok(Some(row)) => {
                        rests.store(true, Ordering::Relaxed);
                        yield Ok(row);
                        rests.store(false, Ordering::Relaxed);
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            }
        };
        if let Err(Fault::Statement(error)) = lease.settle(Ok(outcome), query_err) {
            yield Err(error);
        }
    }
}
