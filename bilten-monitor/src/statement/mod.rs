//! A short name for a SQL statement: its operation, its table and a fingerprint.

mod comment;
mod name;
mod plain;
mod words;
#[cfg(test)]
#[path = "work_counted.rs"]
mod work;
#[cfg(not(test))]
#[path = "work_none.rs"]
mod work;

use std::fmt;

pub use comment::sql_comment;
use words::Words;

/// What two statements share that differ only in values, spacing, letter case, comments and list lengths.
///
/// ```
/// use bilten_monitor::query::Fingerprint;
///
/// let listed = Fingerprint::of("SELECT * FROM t WHERE id IN (1, 2, 3) -- three");
/// assert_eq!(listed, Fingerprint::of("select * from t where id in (7)"));
/// assert_ne!(listed, Fingerprint::of("select * from t where name in (7)"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a statement. It stays the same across programs and versions of this crate.
    ///
    /// The whole text is read once, whatever is in it; what is kept of it meanwhile is bounded.
    #[must_use]
    pub fn of(sql: &str) -> Self {
        Self(Words::of(sql).hash())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A name such as `SELECT events 1f2e3d4c`: few enough for a label, without any value of the statement.
#[cfg_attr(
    all(not(test), not(feature = "sea-orm")),
    expect(dead_code, reason = "the observer names statements")
)]
pub(crate) fn summary(sql: &str) -> String {
    let words = Words::of(sql);
    let short = words.hash() >> 32;
    let (operation, table) = name::operation_and_table(words.first());
    match table {
        Some(table) => format!("{operation} {table} {short:08x}"),
        None => format!("{operation} {short:08x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_differ_in_values_only_share_a_fingerprint() {
        let same = [
            (
                "SELECT * FROM t WHERE id IN (1,2,3) -- x",
                "select * from t where id in (7)",
            ),
            (
                "INSERT INTO t (a) VALUES ($1), ($2)",
                "insert into t(a) values (?)",
            ),
            (
                "SELECT 'it''s' /* a /* nested */ one */ , 1.5e3;",
                "select $$text$$, 2",
            ),
            (
                r#"SELECT "t"."id" FROM "public"."t""#,
                "select t.id from public.t",
            ),
        ];
        for (one, other) in same {
            assert_eq!(
                Fingerprint::of(one),
                Fingerprint::of(other),
                "{one} | {other}"
            );
        }
    }

    #[test]
    fn statements_that_ask_for_something_else_do_not() {
        let asked = [
            "select a from t",
            "select b from t",
            "select a from u",
            "delete from t",
            "select a, b from t",
        ];
        let distinct: std::collections::HashSet<_> =
            asked.iter().map(|sql| Fingerprint::of(sql)).collect();
        assert_eq!(distinct.len(), asked.len());
    }

    /// Texts of about so many bytes in which much nests, repeats or never ends.
    fn monsters(bytes: usize) -> Vec<(&'static str, String)> {
        let of = |part: &str| part.repeat(bytes / part.len());
        let tags = (0..bytes / 8).map(|n| format!("$t{n}$")).collect();
        vec![
            ("comments that open", of("/*")),
            ("comments", of("/* */")),
            ("line comments", of("--\n")),
            ("quotes", of("'")),
            ("odd quotes", of("'") + "'"),
            ("backslashes", of("'\\")),
            ("dollars", of("$")),
            ("dollar texts", of("$a$b")),
            ("dollar tags", tags),
            ("opening parentheses", of("(")),
            ("queries in queries", of("select * from (")),
            ("closing parentheses", of(")")),
            ("a list", of("1,")),
            ("rows", of("(1,2),")),
            ("columns", of("a,b.c,")),
            ("letters", of("a")),
            ("spaces", of(" ")),
            ("statements", of("select 1;")),
        ]
    }

    #[test]
    fn twice_the_text_is_twice_the_work_whatever_is_in_it() {
        const BYTES: usize = 16 << 10;
        for ((what, short), (_, long)) in monsters(BYTES).iter().zip(&monsters(4 * BYTES)) {
            let work = |sql: &str| work::of(|| drop(summary(sql)));
            let (one, four) = (work(short), work(long));
            assert!(one > 0 && one < 100 * short.len(), "{what}: {one}");
            assert!(four < 5 * one + 1000, "{what}: {one} and {four} steps");
        }
    }

    #[test]
    fn a_megabyte_ends_soon_and_no_name_is_long() {
        for (what, sql) in monsters(1 << 20) {
            assert!(summary(&sql).len() < 150, "{what}");
        }
    }

    #[test]
    fn a_long_statement_is_told_from_another_one_by_its_last_word() {
        let columns = |last: &str| format!("select {} {last} from t", "a , ".repeat(100_000));
        assert_eq!(
            Fingerprint::of(&columns("b")),
            Fingerprint::of(&columns("B"))
        );
        assert_ne!(
            Fingerprint::of(&columns("b")),
            Fingerprint::of(&columns("c"))
        );
        let rows =
            |many: usize| format!("insert into t values {}($1, $2)", "($1, $2),".repeat(many));
        assert_eq!(Fingerprint::of(&rows(1)), Fingerprint::of(&rows(100_000)));
    }

    #[test]
    fn hostile_text_ends_and_never_panics() {
        for sql in [
            "'",
            "\"",
            "`",
            "$",
            "$$",
            "$a$",
            "/*",
            "--",
            "?",
            "1",
            "é",
            "\"é",
            "((((",
            "))))",
            "select from",
            "update",
        ] {
            let _ = Fingerprint::of(sql);
            let _ = summary(sql);
        }
        assert!(summary(&format!("select * from {}", "é".repeat(100_000))).len() < 150);
    }
}
