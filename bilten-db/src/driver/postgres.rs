//! PostgreSQL.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sea_orm::{DatabaseConnection, DbBackend, Statement, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor, Postgres, Row};

use super::target::{Target, open_pool};
use super::{Backend, Driver, Executed, Fetched, FetchedAll, FetchedOne, Sample};
use crate::address::{host_and_port, resolvable};
use crate::{Error, PoolConfig};

/// When the server was started, or began anew without that after one of its processes was killed: then all its statistics begin
/// anew at once, while an operator begins those of one kind anew. Before version 15 they are asked of a process that may
/// take its time, so there they are left out.
macro_rules! started {
    (15) => {
        started!(
            ", least(pg_stat_get_bgwriter_stat_reset_time(), \
                (select stats_reset from pg_stat_get_archiver()), \
                (select stats_reset from pg_stat_get_wal()), \
                (select min(stats_reset) from pg_stat_get_slru()))"
        )
    };
    ($anew:expr) => {
        concat!(
            "(extract(epoch from greatest(pg_postmaster_start_time()",
            $anew,
            ")) * 1000000)::bigint"
        )
    };
}

/// Works for an ordinary role. A node in recovery reports what it replayed, a primary what it wrote; its timeline is that of
/// the last pages that it wrote out, so it may still name the old one for a while after a promotion.
macro_rules! sample {
    ($started:expr) => {
        concat!(
            "select r, \
            (case when r then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end - '0/0'::pg_lsn)::bigint, \
            (select system_identifier from pg_control_system()), \
            case when r then greatest((select timeline_id from pg_control_checkpoint()), \
                (select min_recovery_end_timeline from pg_control_recovery())) \
            else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end, ",
            $started,
            ", current_database()::text \
            from (select pg_is_in_recovery() as r) as node"
        )
    };
}

const SAMPLE: &str = sample!(started!(""));
const STARTED: &str = concat!("select ", started!(""));
const SAMPLE_15: &str = sample!(started!(15));
const STARTED_15: &str = concat!("select ", started!(15));

/// Whether all statistics are in the server's memory.
fn keeps_statistics(conn: &PgConnection) -> bool {
    conn.server_version_num()
        .is_some_and(|version| version >= 150_000)
}

/// A statement by itself begins when its transaction does.
const IS_OUTSIDE: &str = "select now() = statement_timestamp()";

pub(super) fn open(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    open_pool::<Postgres>(target)
}

impl Driver for Postgres {
    const BACKEND: DbBackend = DbBackend::Postgres;
    const DETACH: bool = true;
    const WATCHED: bool = true;
    const READS_ALL: bool = true;

    type Options = PgConnectOptions;

    fn parse(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        let host = resolvable(options.get_host()).to_owned();
        Ok(match options.get_socket() {
            Some(_) => options,
            None => options.host(&host),
        })
    }

    fn address(options: &PgConnectOptions) -> String {
        match options.get_socket() {
            Some(path) => path.display().to_string(),
            None => host_and_port(options.get_host(), options.get_port()),
        }
    }

    fn session(options: &PgConnectOptions, pool: &PoolConfig, read_only: bool) -> PgConnectOptions {
        let mut session = options
            .clone()
            .disable_statement_logging()
            // Those that it does not keep the driver never closes: the server would hold every statement there ever was.
            .statement_cache_capacity(pool.statement_cache.max(1));
        if read_only {
            session = session.options([("default_transaction_read_only", "on")]);
        }
        if let Some(limit) = pool.statement_timeout {
            session = session.options([("statement_timeout", limit.as_millis().to_string())]);
        }
        session
    }

    async fn greet(
        conn: &mut PgConnection,
        pool: &PoolConfig,
        _read_only: bool,
    ) -> Result<(), sqlx::Error> {
        let Some(interval) = pool.client_check else {
            return Ok(());
        };
        // Not a startup option: a server that does not know it would refuse the connection.
        let millis = interval.as_millis().max(1);
        let sql = format!("SET client_connection_check_interval = {millis}");
        match conn.execute(AssertSqlSafe(sql)).await {
            Err(error @ sqlx::Error::Database(_)) => {
                tracing::warn!(%error, "the server takes no client_check");
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    fn wrap(pool: sqlx::Pool<Self>) -> DatabaseConnection {
        DatabaseConnection::from(pool)
    }

    fn fetch<'a>(conn: &'a mut PgConnection, stmt: &'a Statement) -> Fetched<'a> {
        query(stmt).fetch(conn).map_ok(Into::into).boxed()
    }

    async fn execute(conn: &mut PgConnection, stmt: &Statement) -> Executed {
        query(stmt).execute(conn).await.map(Into::into)
    }

    async fn execute_unprepared(conn: &mut PgConnection, sql: &str) -> Executed {
        conn.execute(AssertSqlSafe(sql)).await.map(Into::into)
    }

    async fn query_one(conn: &mut PgConnection, stmt: &Statement) -> FetchedOne {
        let row = query(stmt).fetch_optional(conn).await?;
        Ok(row.map(Into::into))
    }

    async fn query_all(conn: &mut PgConnection, stmt: &Statement) -> FetchedAll {
        let rows = query(stmt).fetch_all(conn).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn sample(conn: &mut PgConnection) -> Result<Sample, sqlx::Error> {
        let asked = match keeps_statistics(conn) {
            true => SAMPLE_15,
            false => SAMPLE,
        };
        let row: PgRow = conn.fetch_one(asked).await?;
        Ok(Sample {
            in_recovery: row.try_get(0)?,
            position: row
                .try_get::<Option<i64>, _>(1)?
                .map(|position| end_of_records(position.cast_unsigned())),
            system_id: row.try_get::<Option<i64>, _>(2)?.map(i64::cast_unsigned),
            timeline: row.try_get::<Option<i32>, _>(3)?.map(i32::cast_unsigned),
            started: row.try_get(4)?,
            database: row.try_get::<Option<&str>, _>(5)?.map(Arc::from),
            gtids: None,
        })
    }

    async fn started(conn: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        let asked = match keeps_statistics(conn) {
            true => STARTED_15,
            false => STARTED,
        };
        conn.fetch_one(asked).await?.try_get(0)
    }

    fn has_stale_plan(error: &sqlx::Error) -> bool {
        let sqlx::Error::Database(answer) = error else {
            return false;
        };
        // The message is in the language of the server, the name of its routine is not.
        answer
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|answer| answer.routine() == Some("RevalidateCachedQuery"))
    }

    async fn is_outside_transactions(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // Not a ROLLBACK, which the server warns of where there is none to roll back.
        match conn.fetch_one(IS_OUTSIDE).await {
            Ok(row) => row.try_get(0),
            // In a failed one the server answers nothing else.
            Err(sqlx::Error::Database(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Where the last record ends. A primary whose last record fills a page names the place behind the header of the next
/// one, which a replica comes to only with the next record; no record ends there.
fn end_of_records(position: u64) -> u64 {
    const PAGE: u64 = 8192;
    /// The header of a page, and that of the first page of a file.
    const HEADERS: [u64; 2] = [24, 40];
    match position % PAGE {
        within if HEADERS.contains(&within) => position - within,
        _ => position,
    }
}

fn query(stmt: &Statement) -> Query<'_, Postgres, SqlxValues> {
    let values = stmt.values.clone().unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(stmt.sql.as_str()), SqlxValues(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_is_what_the_resolver_takes() {
        let table = [
            ("postgres://app@[::1]:5433/shop", "::1", "[::1]:5433"),
            ("postgres://app@[fe80::7]/shop", "fe80::7", "[fe80::7]:5432"),
            ("postgres:///shop?host=db-1", "db-1", "db-1:5432"),
        ];
        for (url, host, address) in table {
            let options = Postgres::parse(url).unwrap();
            assert_eq!(options.get_host(), host);
            assert_eq!(Postgres::address(&options), address);
        }
        let socket = Postgres::parse("postgres:///shop?host=/run/postgresql").unwrap();
        assert_eq!(Postgres::address(&socket), "/run/postgresql");
    }
}
