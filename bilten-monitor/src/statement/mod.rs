//! A short name for a SQL statement: its operation, its table and a fingerprint.

mod comment;
mod name;
mod words;

use std::fmt;

pub use comment::sql_comment;
use words::normalized;

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
    #[must_use]
    pub fn of(sql: &str) -> Self {
        Self(fnv1a(&normalized(sql)))
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
    let words = normalized(sql);
    let short = fnv1a(&words) >> 32;
    let (operation, table) = name::operation_and_table(&words);
    match table {
        Some(table) => format!("{operation} {table} {short:08x}"),
        None => format!("{operation} {short:08x}"),
    }
}

/// FNV-1a with 64 bits, the words parted by a space: <http://www.isthe.com/chongo/tech/comp/fnv/>.
fn fnv1a(words: &[String]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([b' ']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
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
