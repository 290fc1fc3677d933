//! A connection that the user made: it keeps its own pool settings, hooks and mocks.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, ExecResult, QueryResult, Statement,
    StreamTrait, TransactionOptions, TransactionTrait,
};
use tokio::time::timeout;

use super::{Backend, PoolLoad, Prober, Sample};
use crate::fault::Fault;
use crate::rows::Rows;
use crate::transaction::Tx;

const PING_LIMIT: Duration = Duration::from_secs(2);

/// Runs statements through SeaORM's own connection; budgets are those of that connection.
#[derive(Debug)]
pub(crate) struct Adopted {
    conn: DatabaseConnection,
}

impl Adopted {
    pub(crate) fn new(conn: DatabaseConnection) -> Self {
        Self { conn }
    }
}

#[async_trait]
impl Backend for Adopted {
    fn kind(&self) -> DbBackend {
        self.conn.get_database_backend()
    }

    fn address(&self) -> &str {
        "an adopted connection"
    }

    async fn execute(&self, stmt: &Statement, _hurried: bool) -> Result<ExecResult, Fault> {
        self.conn
            .execute_raw(stmt.clone())
            .await
            .map_err(Fault::Statement)
    }

    async fn execute_unprepared(&self, sql: &str, _hurried: bool) -> Result<ExecResult, Fault> {
        self.conn
            .execute_unprepared(sql)
            .await
            .map_err(Fault::Statement)
    }

    async fn query_one(
        &self,
        stmt: &Statement,
        _hurried: bool,
    ) -> Result<Option<QueryResult>, Fault> {
        self.conn
            .query_one_raw(stmt.clone())
            .await
            .map_err(Fault::Statement)
    }

    async fn query_all(&self, stmt: &Statement, _hurried: bool) -> Result<Vec<QueryResult>, Fault> {
        self.conn
            .query_all_raw(stmt.clone())
            .await
            .map_err(Fault::Statement)
    }

    async fn stream(&self, stmt: &Statement, _hurried: bool) -> Result<Rows, Fault> {
        let stream = self.conn.stream_raw(stmt.clone()).await;
        let stream = Box::pin(stream.map_err(Fault::Statement)?);
        Rows::open(stream, None, 0).await
    }

    async fn begin(&self, options: TransactionOptions) -> Result<Tx, Fault> {
        let conn = self.conn.clone();
        // A beginning that is dropped half-way leaves a transaction open that the driver does not know of, on a
        // connection that others get after it.
        let begun = tokio::spawn(async move { conn.begin_with_options(options).await });
        let begun = begun.await.map_err(|_| Fault::Discarded)?;
        Ok(Tx::new(begun.map_err(Fault::Statement)?, None, false))
    }

    async fn sample(&self) -> Result<Sample, Fault> {
        Ok(Sample::default())
    }

    fn connection(&self) -> DatabaseConnection {
        self.conn.clone()
    }

    fn load(&self) -> PoolLoad {
        PoolLoad {
            size: 0,
            idle: 0,
            max: u32::MAX,
        }
    }

    async fn close(&self) {
        if let Err(error) = self.conn.close_by_ref().await {
            tracing::debug!(%error, "closing an adopted connection failed");
        }
    }

    fn prober(&self) -> Box<dyn Prober> {
        Box::new(Ping(self.conn.clone()))
    }

    fn is_watched(&self) -> bool {
        false
    }
}

struct Ping(DatabaseConnection);

#[async_trait]
impl Prober for Ping {
    async fn probe(&mut self) -> Result<Sample, Fault> {
        match timeout(PING_LIMIT, self.0.ping()).await {
            Ok(answer) => answer.map(|()| Sample::default()).map_err(Fault::Statement),
            Err(_) => Err(Fault::ConnectTimeout(PING_LIMIT)),
        }
    }
}
