use super::plain;

/// The statement with tags in a comment, as sqlcommenter writes them: sorted, encoded, at the end.
///
/// A database's own log and its list of running statements then say which route or trace a statement belongs to.
/// A statement that has a comment already comes back as it was; `--` and `/*` in a text, a quoted name or a dollar
/// quote are none. Where databases differ in where a text ends (`'\'`), it has a comment if one of them sees one. A tag that changes with each request, such as a
/// trace, makes each statement a new text: databases that keep prepared statements then prepare every one.
///
/// See <https://google.github.io/sqlcommenter/spec/>.
///
/// ```
/// use bilten_monitor::query::sql_comment;
///
/// let sql = sql_comment("SELECT 1;", &[("route", "/events/{id}"), ("app", "shop")]);
/// assert_eq!(sql, "SELECT 1 /*app='shop',route='%2Fevents%2F%7Bid%7D'*/;");
/// ```
#[must_use]
pub fn sql_comment(sql: &str, tags: &[(&str, &str)]) -> String {
    if tags.is_empty() || plain::has_comment(sql) {
        return sql.to_owned();
    }
    let mut tags: Vec<_> = tags
        .iter()
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    tags.sort_unstable();
    tags.dedup_by(|one, other| one.0 == other.0);
    let tags: Vec<_> = tags
        .iter()
        .map(|(name, value)| format!("{name}='{value}'"))
        .collect();
    let statement = sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let end = if sql.trim_end().ends_with(';') {
        ";"
    } else {
        ""
    };
    format!("{statement} /*{}*/{end}", tags.join(","))
}

/// Percent-encoding of RFC 3986; a quote and the end of a comment cannot survive it.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_encoded_and_cannot_end_the_comment() {
        let hostile = [("b", "*/ DROP TABLE x; --'"), ("a'", "é")];
        assert_eq!(
            sql_comment("SELECT 1", &hostile),
            "SELECT 1 /*a%27='%C3%A9',b='%2A%2F%20DROP%20TABLE%20x%3B%20--%27'*/"
        );
    }

    #[test]
    fn a_statement_with_a_comment_or_without_tags_stays_as_it_was() {
        for sql in ["SELECT 1 -- one", "SELECT /* one */ 1", ""] {
            assert_eq!(
                sql_comment(sql, &[("a", "b")]).replace(" /*a='b'*/", ""),
                sql
            );
        }
        assert_eq!(
            sql_comment("SELECT 1 -- one", &[("a", "b")]),
            "SELECT 1 -- one"
        );
        assert_eq!(sql_comment("SELECT 1 ; ", &[]), "SELECT 1 ; ");
    }

    #[test]
    fn what_looks_like_a_comment_in_a_text_or_a_name_is_none() {
        for sql in [
            "SELECT 'a--b', '/* c */'",
            "SELECT 'it''s -- one'",
            "SELECT \"a--b\", \"say \"\"--\"\"\"",
            "SELECT `a/*b` FROM t",
            "SELECT $$a -- $b$ /* c$$",
            "SELECT $tag$ $$ -- $other$ /* $tag$, $1",
            r"SELECT E'it\'s -- one'",
            r"SELECT 'C:\\ -- D:\\', 1",
            "SELECT a$b$c, 1 - -1, 6 / 2 * 3, '--'",
            "SELECT '-- never ends",
        ] {
            let tagged = format!("{sql} /*a='b'*/");
            assert_eq!(sql_comment(sql, &[("a", "b")]), tagged, "{sql}");
        }
    }

    #[test]
    fn a_comment_after_a_text_is_one() {
        for sql in [
            "SELECT '--' -- one",
            "SELECT 'a''' /* one */",
            "SELECT $$ -- $$ -- one",
            "SELECT /* outer /* inner */ '*/' */ 1",
            "SELECT \"a\" --",
            "SELECT a$b$ -- $b$",
            // One text to MySQL, a text and a comment to PostgreSQL.
            r"SELECT 'a\' -- one'",
            // A text and a comment to MySQL, one text to PostgreSQL.
            r"SELECT 'a\'' -- one'",
        ] {
            assert_eq!(sql_comment(sql, &[("a", "b")]), sql);
        }
    }

    #[test]
    fn a_comment_changes_neither_the_fingerprint_nor_the_name() {
        use crate::statement::{Fingerprint, summary};
        let sql = "SELECT * FROM events WHERE id = $1;";
        let tagged = sql_comment(sql, &[("route", "/x")]);
        assert_eq!(Fingerprint::of(sql), Fingerprint::of(&tagged));
        assert_eq!(summary(sql), summary(&tagged));
    }
}
