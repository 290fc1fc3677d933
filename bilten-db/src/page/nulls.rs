//! Whether the database agrees with the model that a key is never NULL.
//!
//! No comparison finds a row without a value, so a page behind a cursor would leave it out in silence. The catalog is
//! asked in the statement of the page itself. Where it does not promise it (a column that was made differently, a
//! view), the rows are asked.

use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait, SelectStatement};
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, IdenStatic, QueryFilter, QueryResult, QuerySelect,
    QueryTrait, Select, Statement,
};

use super::key::{Key, alias};
use crate::Error;

/// The name under which each row says how many keys the catalog calls NOT NULL.
const PROMISED: &str = "bilten_not_null";

/// Has each row say how many of the keys are NOT NULL by declaration.
pub(super) fn ask_catalog<E: EntityTrait>(
    keys: &[Key<E::Column>],
    backend: DbBackend,
    query: &mut SelectStatement,
) {
    let entity = E::default();
    let columns = keys.iter().map(|key| literal(key.column.as_str()));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = match backend {
        DbBackend::MySql => of_mysql(entity.schema_name(), entity.table_name(), &columns),
        DbBackend::Sqlite => of_sqlite(entity.table_name(), &columns),
        _ => of_postgres(entity.schema_name(), entity.table_name(), &columns),
    };
    query.expr_as(Expr::cust(sql), Alias::new(PROMISED));
}

fn of_postgres(schema: Option<&str>, table: &str, columns: &str) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let name = match schema {
        Some(schema) => format!("{}.{}", quoted(schema), quoted(table)),
        None => quoted(table),
    };
    format!(
        "(SELECT count(*) FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass({}) AND attnotnull AND attname IN ({columns}))",
        literal(&name)
    )
}

fn of_mysql(schema: Option<&str>, table: &str, columns: &str) -> String {
    let schema = schema.map_or_else(|| "database()".to_owned(), literal);
    format!(
        "(SELECT count(*) FROM information_schema.columns WHERE table_schema = {schema} AND table_name = {} AND is_nullable = 'NO' AND column_name IN ({columns}))",
        literal(table)
    )
}

/// The number of a row is never NULL, and the only key of the table is that if it is an integer.
fn of_sqlite(table: &str, columns: &str) -> String {
    let table = literal(table);
    format!(
        "(SELECT count(*) FROM pragma_table_info({table}) WHERE name IN ({columns}) AND (\"notnull\" = 1 \
            OR (pk = 1 AND upper(type) = 'INTEGER' AND (SELECT max(pk) FROM pragma_table_info({table})) = 1)))"
    )
}

/// A name as a string of SQL; the names of entities are written in the program.
fn literal(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "''"))
}

/// Whether the catalog promised it for every key; `false` without a row that could tell.
pub(super) fn are_ruled_out(rows: &[QueryResult], keys: usize) -> bool {
    let promised = rows.first().map(|row| row.try_get::<i64>("", PROMISED));
    matches!(promised, Some(Ok(count)) if usize::try_from(count) == Ok(keys))
}

/// Whether rows of the table may stand for others that are not there: then a column that is NOT NULL is NULL in them. A name
/// that looks like it only costs one more look.
pub(super) fn may_be_joined_on(sql: &str) -> bool {
    ["RIGHT JOIN", "FULL OUTER JOIN"]
        .iter()
        .any(|join| sql.contains(join))
}

/// Whether a key of a row is NULL.
pub(super) fn are_among(rows: &[QueryResult], keys: usize) -> bool {
    let is_null = |row: &QueryResult, n| {
        let text = row.try_get::<Option<String>>("", &alias(n));
        matches!(text, Ok(None))
    };
    rows.iter().any(|row| (0..keys).any(|n| is_null(row, n)))
}

/// Asks whether any row of the query, on whatever page, has a key that is NULL.
pub(super) fn search<E: EntityTrait>(
    query: &Select<E>,
    keys: &[Key<E::Column>],
    backend: DbBackend,
) -> Statement {
    let any = keys.iter().fold(Condition::any(), |any, key| {
        any.add(Expr::col(key.column.as_column_ref()).is_null())
    });
    let mut query = query.clone().filter(any);
    QuerySelect::query(&mut query)
        .clear_selects()
        .expr(Expr::val(1))
        .limit(1);
    query.build(backend)
}

/// What to tell.
pub(super) fn refused<C: ColumnTrait>(keys: &[Key<C>]) -> Error {
    let names = keys.iter().map(|key| format!("`{}`", key.column.as_str()));
    Error::invalid(
        format!("key {}", names.collect::<Vec<_>>().join(", ")),
        "is NULL in the database where the model says that it never is, and such rows would be skipped",
        "declare the column NOT NULL there, filter those rows out, or order by another column",
    )
}
