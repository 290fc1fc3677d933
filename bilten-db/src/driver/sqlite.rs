//! SQLite: one writer, and readers that see the last commit through the write-ahead log.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sea_orm::{DatabaseConnection, DbBackend, Statement, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor, Sqlite};

use super::target::{Target, open_pool};
use super::{Backend, Driver, Executed, Fetched, FetchedAll, FetchedOne, Sample};
use crate::{Error, PoolConfig};

/// For writers in other processes; within this one they queue for the only connection.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn open(mut target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    let in_memory = is_in_memory(target.url);
    if in_memory && target.read_only {
        return Err(Error::invalid(
            target.field,
            "is a database in memory, which only its own connection can see",
            "leave the readers out, or use a file",
        ));
    }
    if !target.read_only {
        // SQLite has one writer: a second connection could only wait for a lock.
        target.pool = target.pool.max(1).min(0);
    }
    if in_memory {
        target.pool = target
            .pool
            .min(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .max_uses(None);
    }
    open_pool::<Sqlite>(target)
}

fn is_in_memory(url: &str) -> bool {
    url.contains(":memory:") || url.contains("mode=memory")
}

impl Driver for Sqlite {
    const BACKEND: DbBackend = DbBackend::Sqlite;
    const DETACH: bool = false;
    const WATCHED: bool = false;
    const READS_ALL: bool = true;

    type Options = SqliteConnectOptions;

    fn parse(url: &str) -> Result<SqliteConnectOptions, sqlx::Error> {
        url.parse()
    }

    fn address(options: &SqliteConnectOptions) -> String {
        options.get_filename().display().to_string()
    }

    fn session(
        options: &SqliteConnectOptions,
        pool: &PoolConfig,
        read_only: bool,
    ) -> SqliteConnectOptions {
        let session = options
            .clone()
            .disable_statement_logging()
            .statement_cache_capacity(pool.statement_cache)
            .busy_timeout(BUSY_TIMEOUT)
            .read_only(read_only)
            .create_if_missing(!read_only);
        if read_only {
            return session;
        }
        session
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
    }

    async fn greet(
        _conn: &mut SqliteConnection,
        _pool: &PoolConfig,
        _read_only: bool,
    ) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn wrap(pool: sqlx::Pool<Self>) -> DatabaseConnection {
        DatabaseConnection::from(pool)
    }

    fn fetch<'a>(conn: &'a mut SqliteConnection, stmt: &'a Statement) -> Fetched<'a> {
        query(stmt).fetch(conn).map_ok(Into::into).boxed()
    }

    async fn execute(conn: &mut SqliteConnection, stmt: &Statement) -> Executed {
        query(stmt).execute(conn).await.map(Into::into)
    }

    async fn execute_unprepared(conn: &mut SqliteConnection, sql: &str) -> Executed {
        conn.execute(AssertSqlSafe(sql)).await.map(Into::into)
    }

    async fn query_one(conn: &mut SqliteConnection, stmt: &Statement) -> FetchedOne {
        let row = query(stmt).fetch_optional(conn).await?;
        Ok(row.map(Into::into))
    }

    async fn query_all(conn: &mut SqliteConnection, stmt: &Statement) -> FetchedAll {
        let rows = query(stmt).fetch_all(conn).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn sample(conn: &mut SqliteConnection) -> Result<Sample, sqlx::Error> {
        conn.execute("select 1").await?;
        Ok(Sample::default())
    }

    async fn started(_: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
        Ok(None)
    }

    /// The driver rolls back by itself what nobody waited for.
    async fn is_outside_transactions(_: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        Ok(true)
    }
}

fn query(stmt: &Statement) -> Query<'_, Sqlite, SqlxValues> {
    let values = stmt.values.clone().unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(stmt.sql.as_str()), SqlxValues(values))
}
