use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use super::Observed;
use super::fault::outcome;
use crate::outcome::Outcome;
use crate::query::{Span, Verdict};

/// Tells the rows of a result as well.
struct Counted<C>(C);

impl<T, C: FnOnce(&T) -> u64> Verdict<Result<T, DbErr>> for Counted<C> {
    fn judge(self, result: &Result<T, DbErr>, span: &mut Span) -> Outcome {
        if let Ok(output) = result {
            span.rows(self.0(output));
        }
        outcome(result)
    }
}

#[async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Observed<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let query = self.query(&statement.sql, statement.db_backend);
        let run = self.inner.execute_raw(statement);
        query.run_with(run, outcome).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let run = self.inner.execute_unprepared(sql);
        self.query(sql, self.inner.get_database_backend())
            .run_with(run, outcome)
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let query = self.query(&statement.sql, statement.db_backend);
        let run = self.inner.query_one_raw(statement);
        let rows = |row: &Option<QueryResult>| u64::from(row.is_some());
        query.run_counted(run, Counted(rows)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let query = self.query(&statement.sql, statement.db_backend);
        let run = self.inner.query_all_raw(statement);
        let rows = |rows: &Vec<QueryResult>| rows.len() as u64;
        query.run_counted(run, Counted(rows)).await
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }

    fn is_mock_connection(&self) -> bool {
        self.inner.is_mock_connection()
    }
}
