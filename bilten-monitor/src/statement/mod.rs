//! A short name for a SQL statement: its operation, its table and a fingerprint.

mod comment;
mod groups;
mod name;
mod plain;
mod token;
mod words;
#[cfg(test)]
#[path = "work_counted.rs"]
mod work;
#[cfg(not(test))]
#[path = "work_none.rs"]
mod work;

use std::fmt;

pub use comment::sql_comment;
pub(crate) use token::Quotes;
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
    /// The fingerprint of a statement: the same in each program with this version of the crate. A newer one may tell more
    /// statements as one.
    ///
    /// Which database it is for is not asked, so what texts in double quotes and a `\` before a quote are is told from the
    /// text. An observed connection knows: of a statement for MySQL that has either, the fingerprint in its name may differ.
    ///
    /// The whole text is read once, whatever is in it; what is kept of it meanwhile is bounded.
    #[must_use]
    pub fn of(sql: &str) -> Self {
        Self(Words::of(sql, Quotes::of(sql)).hash())
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
    summary_of(sql, Quotes::of(sql))
}

/// The same for a database of which it is known how it reads quotes.
pub(crate) fn summary_of(sql: &str, quotes: Quotes) -> String {
    let words = Words::of(sql, quotes);
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
            (
                "select * from t where a < 1e-9 and b = 1_000 and c = 0x1F limit 2_500",
                "select * from t where a < 3 and b = 20 and c = 7 limit 1",
            ),
            ("select 1E+2, a - 1, 0x1e-5", "select 7, a - 2, 8-6"),
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
    fn a_list_is_one_item_whatever_its_values_are_written_like() {
        let into = "insert into t (a, b) values";
        let same = [
            format!(r#"{into} ($1, $2::"status")"#),
            format!(r#"{into} ($1, $2::"status"), ($3, $4::"status")"#),
            format!(r#"{into} ($1, $2::"status"), ($3, $4::"status"), ($5, $6::"status")"#),
            format!("{into} ($1, CAST($2 AS citext)), ($3, CAST($4 AS citext))"),
            format!("{into} (1, NULL), (2, 3), (NULL, -4), (DEFAULT, +5), (TRUE, FALSE)"),
            format!(r"{into} (1, E'a\'b'), (2, 'c'), (3, x'ff')"),
            format!(
                r#"{into} (1, $1::"public"."status"[]), (2, '3'::varchar(4)), (5, 6::double precision)"#
            ),
            format!("{into} (1, $1::timestamp with time zone), (2, 3)"),
        ];
        for sql in &same {
            assert_eq!(
                Fingerprint::of(sql),
                Fingerprint::of("insert into t(a,b) values (?)"),
                "{sql}"
            );
        }
        let lists = [
            r#"status in ($1::"status", $2::"status")"#,
            "status in (-1, 2, -3)",
            "status in (CAST(? AS a), CAST(? AS a), NULL)",
            "status in (7)",
        ];
        for list in lists {
            assert_eq!(
                Fingerprint::of(list),
                Fingerprint::of("status in (?)"),
                "{list}"
            );
        }
        let repeated = [
            ("values (?, now()), (?, now())", "values (?, now())"),
            ("values (now()), (now()), (now())", "values (now())"),
            ("values row(1, 2), row(3, 4)", "values row(?)"),
            ("x in (date '1', date '2')", "x in (date '3')"),
            ("x in (f(a, 1), f(a, 2), f(a, 3))", "x in (f(a, ?))"),
            ("x in (1+1, 2+2, 3+3)", "x in (1+1)"),
            ("x in ($1 || $2, $3 || $4)", "x in ($1 || $2)"),
            ("x in (1, 2+2, 3+3)", "x in (1, 2+2)"),
            (
                "x in ($1 at time zone 'utc', $2 at time zone 'a', $3 at time zone 'b')",
                "x in ($1 at time zone 'utc')",
            ),
            (
                "x in (array[1, 2], array[3], array[4, 5, 6])",
                "x in (array[1])",
            ),
            ("x = any(array[1, 2, 3])", "x = any(array[1])"),
            ("values (1+1, 2), (3+1, 4), (5+1, 6)", "values (1+1, 2)"),
            (
                "(a, b) in ((f(1), $2), (f(3), $4))",
                "(a, b) in ((f(?), ?))",
            ),
        ];
        for (many, one) in repeated {
            assert_eq!(Fingerprint::of(many), Fingerprint::of(one), "{many}");
        }
    }

    #[test]
    fn what_only_looks_like_the_item_before_stays() {
        let different = [
            ("select coalesce(a.b, b)", "select coalesce(a.b)"),
            ("select count(a), count(b) from t", "select count(a) from t"),
            ("select f(a), f(a) + b from t", "select f(a) from t"),
            ("select f(a), (a) from t", "select f(a) from t"),
            ("x in (f(a), (a))", "x in (f(a))"),
            ("select a where b is null", "select a where b = 1"),
            ("select (a, (b, c)), (b, c)", "select (a, (b, c))"),
            ("select a - 1", "select a"),
            ("select a where b = $1::x", "select a where b = $1::y"),
        ];
        for (one, other) in different {
            assert_ne!(Fingerprint::of(one), Fingerprint::of(other), "{one}");
        }
    }

    #[test]
    fn a_text_ends_where_its_database_ends_it() {
        let same = [
            (
                r"select * from t where a = E'O\'Brien' and b = 1",
                "select * from t where a = 'x' and b = 1",
            ),
            (
                r"select * from t where a = 'O\'Brien'",
                "select * from t where a = 'x'",
            ),
            (r"select 'O\'Neil' , 'O\'Brien', 1", "select 'x'"),
            (
                r"select E'a\' from alice', id from events",
                "select 'a', id from events",
            ),
            (
                r"select 'C:\', b from t where c = 'D:\'",
                "select 'C', b from t where c = 'D'",
            ),
            (r"select 'a\\' , b", "select 'a', b"),
        ];
        for (one, other) in same {
            assert_eq!(summary(one), summary(other), "{one}");
        }
        let by_name = |name: &str| {
            let sql = format!(r#"select * from `t` where a = "{name}" and b = 'it\'s'"#);
            summary_of(&sql, Quotes::MYSQL)
        };
        assert_eq!(by_name("alice"), by_name(r#"b\" from "#));
        assert!(by_name("alice").starts_with("SELECT t "));
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
            ("rows in rows", of(",(") + &of(")")),
            ("calls in rows", of("(a,f(1)),")),
            (
                "rows that nearly are the same",
                of("(a,b,c,f(1)),(a,b,c,f(d)),"),
            ),
            ("escaped quotes", of(r"'\'")),
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
    fn a_huge_text_ends_soon_and_no_name_is_long() {
        for (what, sql) in monsters(1 << 16) {
            assert!(summary(&sql).len() < 150, "{what}");
        }
    }

    #[test]
    fn a_long_statement_is_told_from_another_one_by_its_last_word() {
        let columns = |last: &str| format!("select {} {last} from t", "a , ".repeat(20_000));
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
        assert_eq!(Fingerprint::of(&rows(1)), Fingerprint::of(&rows(20_000)));
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
