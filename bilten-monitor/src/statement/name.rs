//! What a statement does, and to which table.

use super::work;

/// A table's name is cut to so many characters.
const MAX_TABLE: usize = 48;
const OPERATIONS: [&str; 5] = ["select", "insert", "update", "delete", "merge"];

/// Queries in the place of a table that are looked into, one within the other: each look reads what is left.
const MAX_DEPTH: usize = 32;

/// The operation in capitals, and the first table that it works on.
///
/// A table that is a query in parentheses stands for the table which that query reads.
pub(super) fn operation_and_table(words: &[String]) -> (String, Option<String>) {
    let mut operation = None;
    let mut rest = words;
    let mut depth = 0;
    loop {
        let top = outside(rest);
        let word = |at: &usize| rest.get(*at).map_or("", String::as_str);
        let found = top.iter().position(|at| OPERATIONS.contains(&word(at)));
        let start = match found {
            Some(at) => {
                let (own, after) = (word(&top[at]), &top[at + 1..]);
                operation.get_or_insert_with(|| own.to_uppercase());
                table_place(own, after, word)
            }
            None => top.first().copied(),
        };
        let inner = start
            .filter(|at| word(at) == "(" && depth < MAX_DEPTH)
            .map(|at| inside(rest, at));
        if let Some(inner) = inner {
            rest = inner;
            depth += 1;
            continue;
        }
        let table = start
            .filter(|_| operation.is_some())
            .and_then(|at| table_at(rest, at));
        let operation = operation.unwrap_or_else(|| match rest.first() {
            Some(first) => plain(first).to_uppercase(),
            None => "EMPTY".to_owned(),
        });
        return (operation, table);
    }
}

/// The places of the words that are in no parentheses; of a group only its opening.
fn outside(words: &[String]) -> Vec<usize> {
    work::add(words.len());
    let mut depth = 0_usize;
    let mut places = Vec::new();
    for (at, word) in words.iter().enumerate() {
        if word == ")" {
            depth = depth.saturating_sub(1);
            continue;
        }
        if depth == 0 {
            places.push(at);
        }
        depth += usize::from(word == "(");
    }
    places
}

/// The words of the group that opens here.
fn inside(words: &[String], open: usize) -> &[String] {
    let group = words.get(open + 1..).unwrap_or_default();
    let mut depth = 0_usize;
    let end = group.iter().position(|word| {
        depth += usize::from(word == "(");
        let closes = word == ")" && depth == 0;
        depth = depth.saturating_sub(usize::from(word == ")"));
        closes
    });
    let end = end.unwrap_or(group.len());
    work::add(end);
    group.get(..end).unwrap_or_default()
}

/// Where the table of an operation is named.
fn table_place<'w>(
    operation: &str,
    after: &[usize],
    word: impl Fn(&usize) -> &'w str,
) -> Option<usize> {
    let start = match operation {
        "update" => 0,
        "insert" | "merge" => after.iter().position(|at| word(at) == "into")? + 1,
        // `a IS DISTINCT FROM b` reads no table.
        _ => {
            let reads = |at: usize| word(&after[at]) == "from";
            let compares = |at: usize| at > 0 && word(&after[at - 1]) == "distinct";
            (0..after.len()).find(|at| reads(*at) && !compares(*at))? + 1
        }
    };
    let mut places = after.iter().skip(start);
    places
        .find(|at| !matches!(word(at), "only" | "lateral"))
        .copied()
}

/// The table named at this place; of `public.events` only `events`.
fn table_at(words: &[String], at: usize) -> Option<String> {
    let mut rest = words.get(at..).unwrap_or_default();
    while let [_, dot, next @ ..] = rest
        && dot == "."
        && !next.is_empty()
    {
        rest = next;
    }
    let table = rest.first()?;
    let is_name = table.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"');
    (is_name && table != "values").then(|| plain(table))
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

#[cfg(test)]
mod tests {
    use crate::statement::summary;

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
            (
                r#"SELECT COUNT(*) FROM (SELECT "events"."id" FROM "events") "sub_query""#,
                "SELECT events ",
            ),
            (
                "SELECT x FROM (SELECT extract(year FROM created) AS x FROM orders) s",
                "SELECT orders ",
            ),
            (
                "SELECT extract(year FROM created) FROM orders",
                "SELECT orders ",
            ),
            ("SELECT a IS DISTINCT FROM b FROM orders", "SELECT orders "),
            (
                "SELECT * FROM ((SELECT 1 FROM deep) UNION SELECT 2 FROM flat) u",
                "SELECT flat ",
            ),
            (
                "(SELECT a FROM first) UNION (SELECT a FROM second)",
                "SELECT first ",
            ),
            ("SELECT * FROM (a JOIN b ON a.x = b.x)", "SELECT a "),
            ("SELECT * FROM (VALUES (1), (2)) v", "SELECT "),
            ("DELETE FROM ONLY events", "DELETE events "),
            ("UPDATE ONLY events SET a = 1", "UPDATE events "),
            ("INSERT INTO a SELECT * FROM b", "INSERT a "),
            (
                "SELECT * FROM LATERAL (SELECT 1 FROM inner_one) x",
                "SELECT inner_one ",
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
}
