use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, TryGetable};

use super::spec::IndexSpec;
use crate::Error;
use crate::access::is_alone;
use crate::scope::{Route, with_route};

/// How the database would answer a query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// As the database writes it.
    pub text: String,
}

impl Plan {
    /// Whether the query reads this index.
    #[must_use]
    pub fn uses(&self, index: &str) -> bool {
        // A longer name that begins or ends the same is another index.
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        self.text.match_indices(index).any(|(at, found)| {
            let before = self.text[..at].chars().next_back();
            let after = self.text[at + found.len()..].chars().next();
            !before.is_some_and(is_name) && !after.is_some_and(is_name)
        })
    }
}

/// Asks the primary how it would answer a query, without running it.
///
/// The answer depends on how many rows there are: of a small table the database reads all, whatever index it has. Ask
/// with data like that of production, and fresh statistics (`ANALYZE`).
///
/// ```
/// # use bilten_db::{Cluster, index::IndexSpec};
/// use bilten_db::index::explain;
/// use bilten_db::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// # db.execute_unprepared("CREATE TABLE events (id integer primary key, start_date text)").await?;
/// # IndexSpec::new("idx_events_start_date", "events").column("start_date").ensure(&db).await?;
/// let query = Statement::from_string(DatabaseBackend::Sqlite, "SELECT * FROM events WHERE start_date > '2027'");
/// assert!(explain(&db, query).await?.uses("idx_events_start_date"));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`Error::Db`] when the database refuses the query.
///
/// # Cancellation
///
/// Nothing is held.
pub async fn explain<C: ConnectionTrait>(db: &C, mut query: Statement) -> Result<Plan, Error> {
    let backend = db.get_database_backend();
    let prefix = match backend {
        DbBackend::Sqlite => "EXPLAIN QUERY PLAN",
        DbBackend::MySql => "EXPLAIN FORMAT=JSON",
        // With an option, after which a query that begins with `ANALYZE` is none: it would be run.
        _ => "EXPLAIN (COSTS)",
    };
    // The others prepare one statement and refuse a second; SQLite runs it, without the prefix.
    if backend == DbBackend::Sqlite && !is_alone(backend, &query.sql) {
        return Err(Error::invalid(
            "query",
            "is not a single statement, and what follows the first would be run",
            "ask for the plan of one statement at a time",
        ));
    }
    query.sql = format!("{prefix} {}", query.sql);
    let rows = with_route(Route::Primary, db.query_all_raw(query)).await?;
    let lines = rows.iter().map(|row| line(row, backend));
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    Ok(Plan {
        text: lines.join("\n"),
    })
}

fn line(row: &QueryResult, backend: DbBackend) -> Result<String, sea_orm::DbErr> {
    let text = match backend {
        DbBackend::Sqlite => String::try_get(row, "", "detail"),
        _ => String::try_get_by_index(row, 0),
    };
    text.map_err(Into::into)
}

impl IndexSpec {
    /// Checks that the primary would use this index for a query.
    ///
    /// For tests on a database with data like that of production; see [`explain`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the plan when it would not, [`Error::Db`] when the database refuses the query.
    ///
    /// # Cancellation
    ///
    /// Nothing is held.
    pub async fn verify<C: ConnectionTrait>(&self, db: &C, query: Statement) -> Result<(), Error> {
        let plan = explain(db, query).await?;
        if plan.uses(&self.name) {
            return Ok(());
        }
        Err(Error::invalid(
            format!("index `{}`", self.name),
            format!("is not used; the plan is\n{}\n", plan.text),
            "change the columns or the query, run ANALYZE, or test with more rows",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_name_counts() {
        let plan = Plan {
            text: "Index Scan using idx_a_b on a\n  Bitmap on \"idx_c\" (x)\nUSING INDEX idx_d"
                .into(),
        };
        for (index, uses) in [
            ("idx_a_b", true),
            ("idx_a", false),
            ("a_b", false),
            ("idx_c", true),
            ("idx_d", true),
            ("idx", false),
        ] {
            assert_eq!(plan.uses(index), uses, "{index}");
        }
    }
}
