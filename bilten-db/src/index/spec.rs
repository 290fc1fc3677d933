use sea_orm::DbBackend;

use crate::Error;

/// An index as a value: its name, its table, its columns, and how it is made.
///
/// Plain, composite, unique, partial ([`filter`](Self::filter)) and covering ([`include`](Self::include)) indexes. Made by
/// [`ensure`](Self::ensure), which can be called at every start and from a migration.
///
/// ```
/// use bilten_db::index::IndexSpec;
/// use bilten_db::sea_orm::DatabaseBackend::Postgres;
///
/// let active = IndexSpec::new("idx_active_events", "events")
///     .column("start_date")
///     .filter("status = 'published'")
///     .concurrently();
/// assert_eq!(
///     active.to_sql(Postgres)?,
///     "CREATE INDEX CONCURRENTLY \"idx_active_events\" ON \"events\" (\"start_date\") WHERE status = 'published'"
/// );
/// # Ok::<(), bilten_db::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct IndexSpec {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    pub(super) include: Vec<String>,
    pub(super) unique: bool,
    pub(super) filter: Option<String>,
    pub(super) method: Option<String>,
    pub(super) concurrently: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) descending: bool,
}

impl IndexSpec {
    /// An index of this name on a table; add at least one column.
    pub fn new(name: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            table: table.into(),
            columns: Vec::new(),
            include: Vec::new(),
            unique: false,
            filter: None,
            method: None,
            concurrently: false,
        }
    }

    /// Then by this column.
    pub fn column(self, name: impl Into<String>) -> Self {
        self.add(name.into(), false)
    }

    /// Then by this column, largest first.
    pub fn column_desc(self, name: impl Into<String>) -> Self {
        self.add(name.into(), true)
    }

    /// Then by these columns, in this order.
    pub fn columns<I: Into<String>>(self, names: impl IntoIterator<Item = I>) -> Self {
        let names = names.into_iter();
        names.fold(self, |spec, name| spec.column(name))
    }

    fn add(mut self, name: String, descending: bool) -> Self {
        self.columns.push(Column { name, descending });
        self
    }

    /// No two rows have the same values.
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// Columns that are kept in the index for queries that need nothing else, without being ordered by it. PostgreSQL
    /// only.
    pub fn include<I: Into<String>>(mut self, names: impl IntoIterator<Item = I>) -> Self {
        self.include.extend(names.into_iter().map(Into::into));
        self
    }

    /// Only the rows that fit this SQL condition. PostgreSQL and SQLite.
    ///
    /// It becomes part of the statement as it is: never take it from a user.
    pub fn filter(mut self, condition: impl Into<String>) -> Self {
        self.filter = Some(condition.into());
        self
    }

    /// Another kind of index than a B-tree, such as `gin` or `brin`, in small letters or capitals. PostgreSQL only.
    pub fn method(mut self, name: impl Into<String>) -> Self {
        self.method = Some(name.into().to_ascii_lowercase());
        self
    }

    /// Does not stop writers while the index is made, which takes longer and cannot be part of a transaction. PostgreSQL;
    /// the others make indexes as they always do.
    pub fn concurrently(mut self) -> Self {
        self.concurrently = true;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The statement that makes it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no column, a name is empty or not one, or this database has no such index.
    pub fn to_sql(&self, backend: DbBackend) -> Result<String, Error> {
        self.check(backend)?;
        let quote = |name: &str| quoted(backend, name);
        let unique = if self.unique { "UNIQUE " } else { "" };
        let concurrently = match backend {
            DbBackend::Postgres if self.concurrently => "CONCURRENTLY ",
            _ => "",
        };
        let (name, table) = (quote(&self.name), table(backend, &self.table));
        let method = self.method.as_deref();
        let method = method.map_or(String::new(), |method| format!(" USING {}", quote(method)));
        let column = |column: &Column| {
            let way = if column.descending { " DESC" } else { "" };
            quote(&column.name) + way
        };
        let columns = list(self.columns.iter().map(column));
        let mut sql =
            format!("CREATE {unique}INDEX {concurrently}{name} ON {table}{method} ({columns})");
        if !self.include.is_empty() {
            let include = list(self.include.iter().map(|name| quote(name)));
            sql += &format!(" INCLUDE ({include})");
        }
        if let Some(filter) = &self.filter {
            sql += &format!(" WHERE {filter}");
        }
        Ok(sql)
    }

    pub(super) fn drop_sql(&self, backend: DbBackend) -> String {
        let name = quoted(backend, &self.name);
        match backend {
            DbBackend::MySql => format!("DROP INDEX {name} ON {}", table(backend, &self.table)),
            DbBackend::Postgres if self.concurrently => {
                let schema = self.table.rsplit_once('.').map(|(schema, _)| schema);
                let schema = schema.map_or(String::new(), |schema| quoted(backend, schema) + ".");
                format!("DROP INDEX CONCURRENTLY IF EXISTS {schema}{name}")
            }
            DbBackend::Postgres => {
                let schema = self.table.rsplit_once('.').map(|(schema, _)| schema);
                let schema = schema.map_or(String::new(), |schema| quoted(backend, schema) + ".");
                format!("DROP INDEX IF EXISTS {schema}{name}")
            }
            _ => format!("DROP INDEX IF EXISTS {name}"),
        }
    }

    fn check(&self, backend: DbBackend) -> Result<(), Error> {
        let refused = |problem: &str, remedy: &str| {
            Err(Error::invalid(
                format!("index `{}`", self.name),
                problem,
                remedy,
            ))
        };
        if self.columns.is_empty() {
            return refused("has no column", "add at least one with column()");
        }
        let columns = self.columns.iter().map(|column| &column.name);
        let names = [&self.name, &self.table].into_iter().chain(columns);
        let mut names = names.chain(&self.include).chain(&self.method);
        if names.any(|name| name.is_empty() || name.contains('\0')) {
            return refused("has an empty name, or one with a NUL byte", "name it");
        }
        // Longer ones are cut short by the server, and not found under their name again.
        let longest = match backend {
            DbBackend::Postgres => 63,
            DbBackend::MySql => 64,
            _ => usize::MAX,
        };
        if self.name.len() > longest {
            return refused(
                &format!("has a name of more than {longest} bytes"),
                "shorten it",
            );
        }
        let postgres = backend == DbBackend::Postgres;
        if !self.include.is_empty() && !postgres {
            return refused(
                "includes columns, which only PostgreSQL can",
                "make them columns",
            );
        }
        if self.method.is_some() && !postgres {
            return refused("names a method, which only PostgreSQL has", "leave it out");
        }
        let is_empty = |filter: &String| filter.trim().is_empty();
        if self.filter.as_ref().is_some_and(is_empty) {
            return refused("has an empty filter", "leave it out, or give a condition");
        }
        if self.filter.is_some() && backend == DbBackend::MySql {
            return refused("has a filter, which MySQL does not know", "leave it out");
        }
        Ok(())
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// A name as an identifier, whatever is in it.
fn quoted(backend: DbBackend, name: &str) -> String {
    match backend {
        DbBackend::MySql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// A table may be named with its schema.
fn table(backend: DbBackend, name: &str) -> String {
    let parts = name.split('.').map(|part| quoted(backend, part));
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use sea_orm::DatabaseBackend::{MySql, Postgres, Sqlite};

    use super::*;

    fn spec() -> IndexSpec {
        IndexSpec::new("i", "events")
    }

    #[test]
    fn each_database_gets_its_own_words() {
        let table = [
            (
                spec().columns(["a", "b"]),
                Postgres,
                r#"CREATE INDEX "i" ON "events" ("a", "b")"#,
            ),
            (
                spec().columns(["a", "b"]),
                MySql,
                "CREATE INDEX `i` ON `events` (`a`, `b`)",
            ),
            (
                spec().column_desc("a").unique(),
                Sqlite,
                r#"CREATE UNIQUE INDEX "i" ON "events" ("a" DESC)"#,
            ),
            (
                spec().column("a").concurrently(),
                Sqlite,
                r#"CREATE INDEX "i" ON "events" ("a")"#,
            ),
            (
                spec().column("a").filter("b > 1"),
                Sqlite,
                r#"CREATE INDEX "i" ON "events" ("a") WHERE b > 1"#,
            ),
            (
                spec().column("a").include(["b", "c"]).method("BTree"),
                Postgres,
                r#"CREATE INDEX "i" ON "events" USING "btree" ("a") INCLUDE ("b", "c")"#,
            ),
            (
                IndexSpec::new("i\"; drop table x; --", "shop.events").column("a\"b"),
                Postgres,
                r#"CREATE INDEX "i""; drop table x; --" ON "shop"."events" ("a""b")"#,
            ),
        ];
        for (spec, backend, sql) in table {
            assert_eq!(spec.to_sql(backend).unwrap(), sql);
        }
    }

    #[test]
    fn what_a_database_cannot_do_is_refused_by_name() {
        let table = [
            (spec(), Postgres, "no column"),
            (IndexSpec::new("i", "").column("a"), Postgres, "empty name"),
            (spec().column("a\0"), Postgres, "NUL"),
            (spec().column("a").include(["b"]), Sqlite, "includes"),
            (spec().column("a").method("gin"), MySql, "method"),
            (spec().column("a").filter("b"), MySql, "filter"),
            (spec().column("a").filter(" \n"), Postgres, "empty filter"),
            (
                IndexSpec::new("i".repeat(64), "t").column("a"),
                Postgres,
                "more than 63 bytes",
            ),
        ];
        for (spec, backend, problem) in table {
            let error = spec.to_sql(backend).unwrap_err().to_string();
            assert!(
                error.starts_with("index `i") && error.contains(problem),
                "{error}"
            );
        }
    }
}
