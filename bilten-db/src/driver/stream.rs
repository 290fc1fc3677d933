//! The rows of a query as they come, on a connection that goes back clean or not at all.

use futures_util::{Stream, TryStreamExt as _};
use sea_orm::{DbErr, QueryResult, Statement};
use sqlx::Connection as _;

use super::lease::Lease;
use super::{Driver, query_err};
use crate::fault::Fault;

/// Dropped before its end it throws the connection away.
pub(super) fn stream<D: Driver>(
    mut lease: Lease<D>,
    stmt: Statement,
) -> impl Stream<Item = Result<QueryResult, DbErr>> + Send + 'static {
    async_stream::stream! {
        let mut is_first_try = true;
        let outcome = loop {
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
            // Said before the first row, so nothing is given out twice.
            let is_stale = outcome.as_ref().is_err_and(|error| D::has_stale_plan(error));
            if !(is_first_try && is_stale && lease.clear_cached_statements().await.is_ok()) {
                break outcome;
            }
            is_first_try = false;
        };
        if let Err(Fault::Statement(error)) = lease.settle(Ok(outcome), query_err) {
            yield Err(error);
        }
    }
}
