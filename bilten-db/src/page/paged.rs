//! The statements that SeaORM's paginator would send, so that they can be sent in other ways.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::sea_query::SelectStatement;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, EntityTrait, ExecResult, FromQueryResult, PaginatorTrait,
    QueryResult, QueryTrait, Select, SelectModel, SelectTwo, SelectTwoModel, Selector, SelectorRaw,
    SelectorTrait, Statement,
};

use super::request::refuse_limit;
use crate::Error;
use crate::access::spoils_limit;

/// A query that has pages: SeaORM's selects, joins, projections, partial models and raw statements.
pub trait Paged: Sized + Send + sealed::Sealed {
    /// What a row becomes.
    type Item: Send;

    /// The statement for the rows of a page, counted from 0, and the one for the count of all.
    #[doc(hidden)]
    fn statements(
        self,
        backend: DbBackend,
        page: u64,
        limit: u64,
    ) -> Result<(Statement, Statement), DbErr>;

    #[doc(hidden)]
    fn item(row: QueryResult) -> Result<Self::Item, DbErr>;
}

mod sealed {
    #[allow(unnameable_types, reason = "nobody else may implement what needs it")]
    pub trait Sealed {}
}

macro_rules! paged {
    ([$($generic:tt)*] $query:ty, $selector:ty, $check:expr) => {
        impl<$($generic)*> sealed::Sealed for $query {}

        impl<$($generic)*> Paged for $query {
            type Item = <$selector as SelectorTrait>::Item;

            fn statements(
                self,
                backend: DbBackend,
                page: u64,
                limit: u64,
            ) -> Result<(Statement, Statement), DbErr> {
                $check(&self)?;
                let ear = Ear { backend, heard: Mutex::new(None) };
                let paginator = self.paginate(&ear, limit);
                // Both ask at once; there is nothing to wait for.
                let _ = paginator.fetch_page(page).now_or_never();
                let rows = ear.take()?;
                check_end(&rows)?;
                let _ = paginator.num_items().now_or_never();
                Ok((rows, ear.take()?))
            }

            fn item(row: QueryResult) -> Result<Self::Item, DbErr> {
                <$selector>::from_raw_query_result(row)
            }
        }
    };
}

// SeaORM shows nobody what is in these two.
paged!([S: SelectorTrait<Item: Send> + Send + Sync + 'static] Selector<S>, S, unseen);
paged!([S: SelectorTrait<Item: Send> + Send + Sync + 'static] SelectorRaw<S>, S, unseen);
paged!(
    [M: FromQueryResult + Sized + Send + Sync + 'static, E: EntityTrait<Model = M>]
    Select<E>, SelectModel<M>, unlimited
);
paged!(
    [
        M: FromQueryResult + Sized + Send + Sync + 'static,
        N: FromQueryResult + Sized + Send + Sync + 'static,
        E: EntityTrait<Model = M>,
        F: EntityTrait<Model = N>
    ]
    SelectTwo<E, F>, SelectTwoModel<M, N>, unlimited
);

fn unlimited(query: &impl QueryTrait<QueryStatement = SelectStatement>) -> Result<(), DbErr> {
    refuse_limit(query.as_query()).map_err(DbErr::from)
}

/// A raw statement gets its limit at its end.
fn check_end(rows: &Statement) -> Result<(), DbErr> {
    let Some(problem) = spoils_limit(rows.db_backend, &rows.sql) else {
        return Ok(());
    };
    let remedy = "leave out what is behind the query, and leave limits to the request";
    Err(Error::invalid("query", problem, remedy).into())
}

fn unseen<Q>(_query: &Q) -> Result<(), DbErr> {
    Ok(())
}

/// Hears what would be asked, and answers nothing.
struct Ear {
    backend: DbBackend,
    heard: Mutex<Option<Statement>>,
}

impl Ear {
    fn hear(&self, stmt: Statement) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(stmt);
    }

    fn take(&self) -> Result<Statement, DbErr> {
        let heard = self
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        heard.ok_or_else(unheard)
    }
}

#[async_trait]
impl ConnectionTrait for Ear {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, _: Statement) -> Result<ExecResult, DbErr> {
        Err(unheard())
    }

    async fn execute_unprepared(&self, _: &str) -> Result<ExecResult, DbErr> {
        Err(unheard())
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.hear(stmt);
        Ok(None)
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.hear(stmt);
        Ok(Vec::new())
    }
}

fn unheard() -> DbErr {
    DbErr::Custom("the query did not say what it asks for a page".to_owned())
}

/// Has the statement for the rows of a page fetch one row more, which tells whether another page follows.
///
/// The last two values are the limit and the offset; `false` when they are not.
pub(super) fn fetch_one_more(rows: &mut Statement, limit: u64) -> bool {
    let values = rows.values.as_mut().map(|values| values.0.as_mut_slice());
    let Some([.., most, _offset]) = values else {
        return false;
    };
    let is_limit = *most == limit.into();
    if is_limit {
        *most = (limit + 1).into();
    }
    is_limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_is_fetched_by_the_limit_alone() {
        let sql = "SELECT 1 WHERE $1 LIMIT $2 OFFSET $3";
        let values = |limit: u64| [7_u64.into(), limit.into(), 40_u64.into()];
        let mut rows = Statement::from_sql_and_values(DbBackend::Postgres, sql, values(20));
        assert!(fetch_one_more(&mut rows, 20));
        let wider = Statement::from_sql_and_values(DbBackend::Postgres, sql, values(21));
        assert_eq!(rows, wider);
        assert!(!fetch_one_more(&mut rows, 20) && rows == wider);
        let plain = &mut Statement::from_string(DbBackend::Postgres, "SELECT 1");
        assert!(!fetch_one_more(plain, 20));
    }
}
