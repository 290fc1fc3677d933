//! A connection that the user made: it keeps its own pool settings, hooks and mocks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult,
    Statement, StreamTrait, TransactionOptions, TransactionTrait,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
    /// `None` for a connection that is no pool.
    places: Option<Places>,
}

/// As many as the pool has connections. Whoever goes away while it is full leaves the queue, which a beginning that goes
/// on by itself would not.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    acquire_timeout: Duration,
}

impl Places {
    fn of(conn: &DatabaseConnection) -> Option<Self> {
        let (max, acquire_timeout) = pool_of(conn)?;
        let max = usize::try_from(max).unwrap_or(Semaphore::MAX_PERMITS);
        Some(Self {
            free: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            acquire_timeout,
        })
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, DbErr> {
        let full = || DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
        let taken = timeout(self.acquire_timeout, Arc::clone(&self.free).acquire_owned()).await;
        taken.map_err(|_| full())?.map_err(|_| full())
    }
}

/// Most connections, and how long to wait for one.
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(unused_variables, reason = "asked for each driver that is compiled in")
)]
fn pool_of(conn: &DatabaseConnection) -> Option<(u32, Duration)> {
    #[cfg(feature = "postgres")]
    if let sea_orm::DatabaseConnectionType::SqlxPostgresPoolConnection(_) = &conn.inner {
        return Some(limits_of(conn.get_postgres_connection_pool()));
    }
    #[cfg(feature = "mysql")]
    if let sea_orm::DatabaseConnectionType::SqlxMySqlPoolConnection(_) = &conn.inner {
        return Some(limits_of(conn.get_mysql_connection_pool()));
    }
    #[cfg(feature = "sqlite")]
    if let sea_orm::DatabaseConnectionType::SqlxSqlitePoolConnection(_) = &conn.inner {
        return Some(limits_of(conn.get_sqlite_connection_pool()));
    }
    None
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
fn limits_of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> (u32, Duration) {
    let options = pool.options();
    (options.get_max_connections(), options.get_acquire_timeout())
}

impl Adopted {
    pub(crate) fn new(conn: DatabaseConnection) -> Self {
        let places = Places::of(&conn);
        Self { conn, places }
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
        let permit = match &self.places {
            Some(places) => Some(places.take().await.map_err(Fault::Statement)?),
            None => None,
        };
        let conn = self.conn.clone();
        // A beginning that is dropped half-way leaves a transaction open that the driver does not know of, on a
        // connection that others get after it.
        let begun = tokio::spawn(async move {
            let begun = conn.begin_with_options(options).await;
            begun.map(|begun| Tx::new(begun, None, false).holding(permit))
        });
        let begun = begun.await.map_err(|_| Fault::Discarded)?;
        begun.map_err(Fault::Statement)
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
            parked: 0,
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
