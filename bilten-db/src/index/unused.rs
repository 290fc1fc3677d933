use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};
use serde::Serialize;

use super::catalog::is_being_made;
use crate::Error;
use crate::scope::{Route, with_route};

/// An index and how much it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexUse {
    /// The index.
    pub name: String,
    /// Its table, with the schema.
    pub table: String,
    /// Queries that read it since the statistics were last reset.
    pub scans: u64,
    /// Its size on disk.
    pub bytes: u64,
}

/// Indexes that no query on the primary has read since its statistics were last reset, the largest first. PostgreSQL
/// only.
///
/// Each one costs every write of its table and serves nobody. Those that keep rows unique are left out: they serve by being
/// there. **Replicas keep statistics of their own**: where reads go to replicas, ask each of them too, through a plain
/// connection to it, and drop only what is unused everywhere.
///
/// # Errors
///
/// [`Error::Invalid`] on other databases, [`Error::Db`] when the database refuses.
///
/// # Cancellation
///
/// Nothing is held.
pub async fn unused<C: ConnectionTrait>(db: &C) -> Result<Vec<IndexUse>, Error> {
    let sql = "select s.indexrelname::text, s.schemaname || '.' || s.relname, s.idx_scan, \
        pg_relation_size(s.indexrelid) from pg_stat_user_indexes s \
        join pg_index i on i.indexrelid = s.indexrelid \
        where s.idx_scan = 0 and i.indisvalid and not i.indisunique and not i.indisprimary \
        and not i.indisexclusion order by 4 desc, 1";
    list(db, sql).await
}

/// Indexes that a failed concurrent build left behind: every write keeps them up to date, and no query reads them.
/// PostgreSQL only.
///
/// [`IndexSpec::ensure`](super::IndexSpec::ensure) mends those that it knows; drop the others. Those that are being made
/// right now are left out.
///
/// # Errors
///
/// [`Error::Invalid`] on other databases, [`Error::Db`] when the database refuses.
///
/// # Cancellation
///
/// Nothing is held.
pub async fn invalid<C: ConnectionTrait>(db: &C) -> Result<Vec<IndexUse>, Error> {
    let sql = concat!(
        "select c.relname::text, i.indrelid::regclass::text, 0::bigint, pg_relation_size(i.indexrelid) \
        from pg_index i join pg_class c on c.oid = i.indexrelid \
        where not i.indisvalid and c.relkind = 'i' and not ",
        is_being_made!(),
        " order by 4 desc, 1"
    );
    let mut left = list(db, sql).await?;
    if !left.is_empty() {
        // Of a build that ended well in between one look sees neither the build nor its end.
        let still = list(db, sql).await?;
        let is_same = |one: &IndexUse, other: &IndexUse| {
            (&one.table, &one.name) == (&other.table, &other.name)
        };
        left.retain(|index| still.iter().any(|other| is_same(index, other)));
    }
    Ok(left)
}

async fn list<C: ConnectionTrait>(db: &C, sql: &str) -> Result<Vec<IndexUse>, Error> {
    let backend = db.get_database_backend();
    if backend != DbBackend::Postgres {
        return Err(Error::invalid(
            "statistics of indexes",
            "are kept by PostgreSQL only",
            "ask this database's own tools",
        ));
    }
    let statement = Statement::from_string(backend, sql);
    let rows = with_route(Route::Primary, db.query_all_raw(statement)).await?;
    let uses = rows.iter().map(read).collect::<Result<_, _>>()?;
    Ok(uses)
}

fn read(row: &QueryResult) -> Result<IndexUse, DbErr> {
    let number = |n| row.try_get_by_index::<i64>(n).map(i64::cast_unsigned);
    Ok(IndexUse {
        name: row.try_get_by_index(0)?,
        table: row.try_get_by_index(1)?,
        scans: number(2)?,
        bytes: number(3)?,
    })
}
