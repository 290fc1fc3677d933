//! The rows of a query as they come, on a connection that goes back clean or not at all.

use futures_util::{Stream, TryStreamExt as _};
use sea_orm::{DbErr, QueryResult, Statement};

use super::lease::Lease;
use super::{Driver, query_err};
use crate::fault::Fault;

/// Dropped before its end it throws the connection away.
pub(super) fn stream<D: Driver>(
    mut lease: Lease<D>,
    stmt: Statement,
) -> impl Stream<Item = Result<QueryResult, DbErr>> + Send + 'static {
    async_stream::stream! {
        let outcome = {
            let mut rows = D::fetch(&mut lease, &stmt);
            loop {
                match rows.try_next().await {
                    Ok(Some(row)) => {
                        yield Ok(row);
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
