//! What of a statement is no text and no quoted name.

/// Whether a backslash in a text takes the next sign along, in which databases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backslash {
    /// PostgreSQL and SQLite: only in `E'…'`.
    Plain,
    /// MySQL and MariaDB: in every text.
    Escapes,
}

/// Whether a database may see a comment in it.
pub(super) fn has_comment(sql: &str) -> bool {
    // Most statements have nothing that looks like one.
    let looks_so = ["--", "/*"].iter().any(|mark| sql.contains(mark));
    let seen_with = |backslash| has_comment_to(sql, backslash);
    looks_so
        && [Backslash::Plain, Backslash::Escapes]
            .into_iter()
            .any(seen_with)
}

fn has_comment_to(sql: &str, backslash: Backslash) -> bool {
    let mut rest = sql;
    let mut before = "";
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") || rest.starts_with("/*") {
            return true;
        }
        let is_escaped = backslash == Backslash::Escapes || before.eq_ignore_ascii_case("e");
        let length = match first {
            '\'' => quoted(rest, first, is_escaped),
            '"' => quoted(rest, first, backslash == Backslash::Escapes),
            '`' => quoted(rest, first, false),
            '$' => dollar_quoted(rest),
            _ if is_of_a_word(first) => word(rest),
            _ => first.len_utf8(),
        };
        (before, rest) = rest.split_at_checked(length).unwrap_or((rest, ""));
    }
    false
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the word: a dollar within one quotes nothing.
fn word(rest: &str) -> usize {
    let is_end = |c: char| !is_of_a_word(c) && c != '$';
    rest.find(is_end).unwrap_or(rest.len())
}

/// The length of a text or name with its quotes; what is doubled in it belongs to it.
fn quoted(rest: &str, quote: char, is_escaped: bool) -> usize {
    let mut signs = rest.char_indices().skip(1).peekable();
    while let Some((at, sign)) = signs.next() {
        if sign == quote && signs.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
        if sign == '\\' && is_escaped {
            signs.next();
        }
    }
    rest.len()
}

/// The length of `$tag$ … $tag$`, or of the dollar alone.
fn dollar_quoted(rest: &str) -> usize {
    let after = &rest[1..];
    let tag = after.find(|c| !is_of_a_word(c)).unwrap_or(after.len());
    let is_placeholder = after.starts_with(|c: char| c.is_ascii_digit());
    if is_placeholder || !after[tag..].starts_with('$') {
        return 1;
    }
    let (mark, text) = rest.split_at(tag + 2);
    text.find(mark).map_or(rest.len(), |at| at + 2 * mark.len())
}
