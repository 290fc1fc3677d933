//! A short name for a SQL statement: its operation, its table and a fingerprint.

use std::fmt;

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

/// A table's name is cut to so many characters.
const MAX_TABLE: usize = 48;

/// A name such as `SELECT events 1f2e3d4c`: few enough for a label, without any value of the statement.
#[cfg_attr(
    all(not(test), not(feature = "sea-orm")),
    expect(dead_code, reason = "the observer names statements")
)]
pub(crate) fn summary(sql: &str) -> String {
    let words = normalized(sql);
    let short = fnv1a(&words) >> 32;
    let (operation, table) = operation_and_table(&words);
    match table {
        Some(table) => format!("{operation} {} {short:08x}", plain(table)),
        None => format!("{operation} {short:08x}"),
    }
}

fn operation_and_table(words: &[String]) -> (String, Option<&str>) {
    const OPERATIONS: [&str; 5] = ["select", "insert", "update", "delete", "merge"];
    let mut depth = 0_usize;
    let top: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| {
            depth += usize::from(*word == "(");
            let outside = depth == 0;
            depth = depth.saturating_sub(usize::from(*word == ")"));
            outside
        })
        .collect();
    let Some(at) = top.iter().position(|word| OPERATIONS.contains(word)) else {
        let first = top.first().map_or("EMPTY", |word| *word);
        return (plain(first).to_uppercase(), None);
    };
    let operation = top.get(at).copied().unwrap_or_default();
    let rest = top.get(at + 1..).unwrap_or_default();
    let table = match table_of(operation, rest) {
        // `FROM (SELECT .. FROM events) AS sub`: SeaORM counts like this.
        Some("as") => innermost_table(words),
        table => table,
    };
    (operation.to_uppercase(), table)
}

/// The first table that a query anywhere in the statement reads from.
fn innermost_table(words: &[String]) -> Option<&str> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let from = |at: &usize| words[*at] == "from" && words.get(at + 1) != Some(&"(");
    let at = (0..words.len()).find(from)?;
    table_of("select", &words[at..])
}

/// The table after `from`, `into` or `update`; of `public.events` only `events`.
fn table_of<'w>(operation: &str, rest: &[&'w str]) -> Option<&'w str> {
    let marker = if operation == "insert" || operation == "merge" {
        "into"
    } else {
        "from"
    };
    let start = match operation {
        "update" => usize::from(rest.first() == Some(&"only")),
        _ => rest.iter().position(|word| *word == marker)? + 1,
    };
    let mut table = rest.get(start).copied()?;
    let mut after = rest.get(start + 1..).unwrap_or_default();
    while let [".", next, ..] = after {
        table = next;
        after = after.get(2..).unwrap_or_default();
    }
    table
        .starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"')
        .then_some(table)
}

fn plain(word: &str) -> String {
    let kept = word.trim_matches('"').chars().take(MAX_TABLE);
    kept.map(|c| {
        if c.is_alphanumeric() || c == '_' {
            c
        } else {
            '_'
        }
    })
    .collect()
}

/// The statement's words: values as `?`, lists of values as one, no comments, one spelling of keywords.
fn normalized(sql: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (word, length) = next_word(rest, first);
        rest = rest.get(length..).unwrap_or_default();
        if let Some(word) = word {
            push(&mut words, word);
        }
    }
    while words.last().is_some_and(|word| word == ";") {
        words.pop();
    }
    words
}

/// Appends a word; `? , ?` shrinks to `?` and `( ? ) , ( ? )` to `( ? )`.
fn push(words: &mut Vec<String>, word: String) {
    words.push(word);
    for (list, kept) in [
        (&["?", ",", "?"][..], 1),
        (&["(", "?", ")", ",", "(", "?", ")"][..], 3),
    ] {
        let start = words.len().saturating_sub(list.len());
        if words
            .get(start..)
            .is_some_and(|tail| tail.iter().map(String::as_str).eq(list.iter().copied()))
        {
            words.truncate(start + kept);
        }
    }
}

/// One word, or nothing for what does not count, and how many bytes it took. Never zero bytes.
fn next_word(rest: &str, first: char) -> (Option<String>, usize) {
    let one = first.len_utf8();
    let value = || Some("?".to_owned());
    match first {
        _ if first.is_whitespace() => (None, one),
        '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (None, block_comment(rest)),
        '\'' => (value(), quoted(rest, '\'')),
        '"' | '`' => {
            let length = quoted(rest, first);
            let name = rest.get(one..length - 1).unwrap_or_default();
            (Some(unquoted(format!("\"{name}\"").to_lowercase())), length)
        }
        '$' => dollar(rest),
        '?' => (
            value(),
            one + rest[one..].chars().take_while(char::is_ascii_digit).count(),
        ),
        _ if first.is_ascii_digit() => (
            value(),
            run(rest, |c| c.is_ascii_alphanumeric() || c == '.'),
        ),
        _ if first.is_alphabetic() || first == '_' => {
            let length = run(rest, |c| c.is_alphanumeric() || c == '_');
            (Some(rest[..length].to_lowercase()), length)
        }
        _ => (Some(first.to_string()), one),
    }
}

/// A quoted plain name is the same table as the unquoted one.
fn unquoted(name: String) -> String {
    let inner = name.trim_matches('"');
    if !inner.is_empty() && inner.chars().all(|c| c.is_alphanumeric() || c == '_') {
        inner.to_owned()
    } else {
        name
    }
}

/// `$1` is a placeholder, `$tag$ … $tag$` a text.
fn dollar(rest: &str) -> (Option<String>, usize) {
    let tag = 1 + run(&rest[1..], |c| c.is_alphanumeric() || c == '_');
    if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) && rest[tag..].starts_with('$') {
        let mark = &rest[..=tag];
        let end = rest[mark.len()..]
            .find(mark)
            .map_or(rest.len(), |at| at + 2 * mark.len());
        return (Some("?".to_owned()), end);
    }
    (Some("?".to_owned()), tag)
}

fn run(rest: &str, keep: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !keep(c)).unwrap_or(rest.len())
}

/// The length of a quoted text with its quotes; a doubled quote belongs to the text.
fn quoted(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len().max(2).min(rest.len())
}

/// The length of a block comment; PostgreSQL nests them.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
        match left {
            _ if left.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            _ if left.starts_with("*/") => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += left.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
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
    fn a_summary_has_the_operation_and_the_table() {
        let named = [
            (
                r#"SELECT "events"."id" FROM "events" WHERE "id" = $1"#,
                "SELECT events ",
            ),
            (
                r#"INSERT INTO "public"."tickets" ("a") VALUES ($1) RETURNING "id""#,
                "INSERT tickets ",
            ),
            ("update `events` set a = 'secret'", "UPDATE events "),
            ("DELETE FROM events WHERE id = 3", "DELETE events "),
            (
                "WITH x AS (SELECT a FROM hidden) SELECT * FROM shown",
                "SELECT shown ",
            ),
            ("SELECT * FROM (SELECT 1) AS x", "SELECT "),
            (
                r#"SELECT COUNT(*) AS num_items FROM (SELECT "events"."id" FROM "events") AS "sub_query""#,
                "SELECT events ",
            ),
            ("select now()", "SELECT "),
            ("BEGIN", "BEGIN "),
            ("", "EMPTY "),
        ];
        for (sql, expected) in named {
            let summary = summary(sql);
            assert!(summary.starts_with(expected), "{sql}: {summary}");
            assert!(!summary.contains("secret"));
            assert_eq!(
                summary.rsplit(' ').next().map(str::len),
                Some(8),
                "{summary}"
            );
        }
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
