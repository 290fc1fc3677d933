//! MySQL and MariaDB.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sea_orm::{DatabaseConnection, DbBackend, Statement, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor, MySql, Row};

use super::target::{Target, open_pool};
use super::{Backend, Driver, Executed, Fetched, FetchedAll, FetchedOne, Sample};
use crate::address::{host_and_port, resolvable};
use crate::gtid::Gtids;
use crate::{Error, PoolConfig};

/// Whole seconds.
macro_rules! started {
    () => {
        "concat(unix_timestamp() - (select cast(variable_value as signed) from \
        /*M! information_schema.global_status */ /*!50700 performance_schema.global_status */ \
        where variable_name = 'Uptime'))"
    };
}

/// Whether it takes writes; since when it runs; where it would write, and what it has; the database of the connection,
/// whose name may be written in two ways where the server does not tell them apart. MariaDB passes over comments that
/// begin with `!50700` or a later version of MySQL, and MySQL over those that begin with `M!`.
const SAMPLE: &str = concat!(
    "select concat(@@global.read_only), concat(@@global.innodb_read_only), ",
    started!(),
    ", concat(/*M! @@global.gtid_domain_id */ /*!50700 @@global.server_uuid */), \
    concat(/*M! if(concat(@@global.read_only) in ('0', 'OFF'), @@global.gtid_current_pos, @@global.gtid_slave_pos) */ \
        /*!50700 @@global.gtid_executed */), \
    if(@@lower_case_table_names = 0, database(), lower(database()))"
);

const STARTED: &str = concat!("select ", started!());

pub(super) fn open(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    open_pool::<MySql>(target)
}

impl Driver for MySql {
    const BACKEND: DbBackend = DbBackend::MySql;
    const DETACH: bool = true;
    const WATCHED: bool = true;
    // Behind the first row of `fetch_optional` something may be left.
    const READS_ALL: bool = false;

    type Options = MySqlConnectOptions;

    fn parse(url: &str) -> Result<MySqlConnectOptions, sqlx::Error> {
        let options: MySqlConnectOptions = url.parse()?;
        let host = resolvable(options.get_host()).to_owned();
        Ok(options.host(&host))
    }

    fn address(options: &MySqlConnectOptions) -> String {
        match options.get_socket() {
            Some(path) => path.display().to_string(),
            None => host_and_port(options.get_host(), options.get_port()),
        }
    }

    fn session(
        options: &MySqlConnectOptions,
        pool: &PoolConfig,
        _read_only: bool,
    ) -> MySqlConnectOptions {
        options
            .clone()
            .disable_statement_logging()
            .statement_cache_capacity(pool.statement_cache)
    }

    async fn greet(
        conn: &mut MySqlConnection,
        pool: &PoolConfig,
        read_only: bool,
    ) -> Result<(), sqlx::Error> {
        if read_only {
            conn.execute("SET SESSION TRANSACTION READ ONLY").await?;
        }
        match pool.statement_timeout {
            Some(limit) => limit_statements(conn, limit.as_millis()).await,
            None => Ok(()),
        }
    }

    fn wrap(pool: sqlx::Pool<Self>) -> DatabaseConnection {
        DatabaseConnection::from(pool)
    }

    fn fetch<'a>(conn: &'a mut MySqlConnection, stmt: &'a Statement) -> Fetched<'a> {
        query(stmt).fetch(conn).map_ok(Into::into).boxed()
    }

    async fn execute(conn: &mut MySqlConnection, stmt: &Statement) -> Executed {
        query(stmt).execute(conn).await.map(Into::into)
    }

    async fn execute_unprepared(conn: &mut MySqlConnection, sql: &str) -> Executed {
        conn.execute(AssertSqlSafe(sql)).await.map(Into::into)
    }

    async fn query_one(conn: &mut MySqlConnection, stmt: &Statement) -> FetchedOne {
        let row = query(stmt).fetch_optional(conn).await?;
        Ok(row.map(Into::into))
    }

    async fn query_all(conn: &mut MySqlConnection, stmt: &Statement) -> FetchedAll {
        let rows = query(stmt).fetch_all(conn).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    async fn sample(conn: &mut MySqlConnection) -> Result<Sample, sqlx::Error> {
        let row: MySqlRow = conn.fetch_one(SAMPLE).await?;
        let text = |index: usize| row.try_get::<Option<String>, _>(index);
        let (writer, position) = (text(3)?.unwrap_or_default(), text(4)?.unwrap_or_default());
        let gtids = match writer.parse() {
            Ok(domain) => Gtids::of_mariadb(domain, &position),
            Err(_) => Gtids::of_mysql(&writer, &position),
        };
        let is_on = |word: String| !matches!(word.as_str(), "0" | "OFF");
        Ok(Sample {
            in_recovery: Some(text(0)?.is_some_and(is_on) || text(1)?.is_some_and(is_on)),
            started: number(text(2)?),
            gtids: gtids.map(Arc::new),
            database: text(5)?.map(Arc::from),
            ..Sample::default()
        })
    }

    async fn started(conn: &mut MySqlConnection) -> Result<Option<i64>, sqlx::Error> {
        let row: MySqlRow = conn.fetch_one(STARTED).await?;
        row.try_get(0).map(number)
    }

    /// Also takes back what was set for the next transaction only, before somebody gave up its beginning.
    async fn is_outside_transactions(conn: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
        conn.execute("ROLLBACK").await.map(|_| true)
    }
}

fn number(text: Option<String>) -> Option<i64> {
    text?.parse().ok()
}

/// MySQL counts milliseconds and ends reads only; MariaDB counts seconds under another name.
async fn limit_statements(conn: &mut MySqlConnection, millis: u128) -> Result<(), sqlx::Error> {
    let mysql = format!("SET SESSION max_execution_time = {millis}");
    if conn.execute(AssertSqlSafe(mysql)).await.is_ok() {
        return Ok(());
    }
    let mariadb = format!("SET SESSION max_statement_time = {millis} / 1000");
    conn.execute(AssertSqlSafe(mariadb)).await.map(drop)
}

fn query(stmt: &Statement) -> Query<'_, MySql, SqlxValues> {
    let values = stmt.values.clone().unwrap_or(Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(stmt.sql.as_str()), SqlxValues(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_is_what_the_resolver_takes() {
        let options = MySql::parse("mysql://app@[::1]:3307/shop").unwrap();
        assert_eq!(options.get_host(), "::1");
        assert_eq!(MySql::address(&options), "[::1]:3307");
    }
}
