use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use super::Observed;
use super::fault::outcome;

#[async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Observed<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let span = self.query(&statement.sql).start();
        let result = self.inner.execute_raw(statement).await;
        span.finish(outcome(&result));
        result
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let span = self.query(sql).start();
        let result = self.inner.execute_unprepared(sql).await;
        span.finish(outcome(&result));
        result
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let mut span = self.query(&statement.sql).start();
        let result = self.inner.query_one_raw(statement).await;
        if let Ok(row) = &result {
            span.rows(u64::from(row.is_some()));
        }
        span.finish(outcome(&result));
        result
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let mut span = self.query(&statement.sql).start();
        let result = self.inner.query_all_raw(statement).await;
        if let Ok(rows) = &result {
            span.rows(rows.len() as u64);
        }
        span.finish(outcome(&result));
        result
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }

    fn is_mock_connection(&self) -> bool {
        self.inner.is_mock_connection()
    }
}
