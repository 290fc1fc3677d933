//! How many rows a query has: all, some, or by the estimate of the planner.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

const HEAD: &str = "SELECT COUNT(*) AS num_items FROM (";

/// What SeaORM counts; `None` when its count has another form than it had.
fn counted(sql: &str) -> Option<&str> {
    let inner = sql.strip_prefix(HEAD)?;
    let end = inner.rfind(") AS ")?;
    Some(&inner[..end])
}

/// The rows of the query.
pub(super) async fn exact<C: ConnectionTrait>(count: Statement, db: &C) -> Result<u64, DbErr> {
    let row = db.query_one_raw(count).await?;
    let found: i64 = row.map_or(Ok(0), |row| row.try_get("", "num_items"))?;
    Ok(u64::try_from(found).unwrap_or(0))
}

/// The rows of the query, but no more than `most`, which is all that the database looks at.
pub(super) async fn capped<C: ConnectionTrait>(
    mut count: Statement,
    db: &C,
    most: u64,
) -> Result<u64, DbErr> {
    if let Some(inner) = counted(&count.sql) {
        count.sql = format!("{HEAD}SELECT 1 FROM ({inner}) AS counted LIMIT {most}) AS sub_query");
    }
    Ok(exact(count, db).await?.min(most))
}

/// The rows that the planner expects; `None` where the database does not tell.
pub(super) async fn estimated<C: ConnectionTrait>(
    count: &Statement,
    db: &C,
) -> Result<Option<u64>, DbErr> {
    let inner = counted(&count.sql).filter(|_| count.db_backend == DbBackend::Postgres);
    let Some(inner) = inner else {
        return Ok(None);
    };
    let explain = Statement {
        sql: format!("EXPLAIN {inner}"),
        ..count.clone()
    };
    let row = db.query_one_raw(explain).await?;
    let plan: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    Ok(plan.as_deref().and_then(rows))
}

/// `Seq Scan on event  (cost=0.00..22.70 rows=1270 width=36)`
fn rows(plan: &str) -> Option<u64> {
    let (_, rest) = plan.rsplit_once(" rows=")?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counted_query_is_found_inside_of_the_count() {
        let table = [
            (
                "SELECT COUNT(*) AS num_items FROM (SELECT 1) AS \"sub_query\"",
                Some("SELECT 1"),
            ),
            (
                "SELECT COUNT(*) AS num_items FROM (SELECT (1) AS a) AS `sub_query`",
                Some("SELECT (1) AS a"),
            ),
            ("SELECT COUNT(1) FROM (SELECT 1) AS \"sub_query\"", None),
            ("", None),
        ];
        for (sql, expected) in table {
            assert_eq!(counted(sql), expected, "{sql}");
        }
    }

    #[test]
    fn the_estimate_stands_in_the_first_line_of_the_plan() {
        let table = [
            (
                "Seq Scan on event  (cost=0.00..22.70 rows=1270 width=36)",
                Some(1270),
            ),
            ("Result  (cost=0.00..0.01 rows=1 width=4)", Some(1)),
            (
                "Index Scan using \" rows=9 \" on a  (cost=0.1..2 rows=3 width=4)",
                Some(3),
            ),
            ("nothing", None),
        ];
        for (plan, expected) in table {
            assert_eq!(rows(plan), expected, "{plan}");
        }
    }
}
