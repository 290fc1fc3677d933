//! The words of a statement one by one.

use super::work;

/// How a database reads quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quotes {
    /// A backslash takes the next sign of every text along, not only of `E'…'`.
    escapes: bool,
    /// What is in double quotes is a text.
    are_texts: bool,
}

impl Quotes {
    /// Those of MySQL and MariaDB.
    #[cfg_attr(
        all(not(test), not(feature = "sea-orm")),
        expect(dead_code, reason = "only an observed connection knows its database")
    )]
    pub(crate) const MYSQL: Self = Self {
        escapes: true,
        are_texts: true,
    };

    /// Those of the database that the statement seems to be for: where `\'` ends no text if no text then lacks its end.
    pub(crate) fn of(sql: &str) -> Self {
        let quotes = |escapes| Self {
            escapes,
            are_texts: false,
        };
        quotes(sql.contains(r"\'") && quotes(true).end_all_texts(sql))
    }

    fn end_all_texts(self, sql: &str) -> bool {
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            if first == '\'' && quoted(rest, first, self.escapes).is_none() {
                return false;
            }
            let (_, length) = next_word(rest, first, self);
            work::add(length);
            rest = rest.get(length..).unwrap_or_default();
        }
        true
    }
}

/// One word, or nothing for what does not count, and how many bytes it took. Never zero bytes.
pub(super) fn next_word(rest: &str, first: char, quotes: Quotes) -> (Option<String>, usize) {
    let one = first.len_utf8();
    let value = || Some("?".to_owned());
    match first {
        _ if first.is_whitespace() => (None, one),
        '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (None, block_comment(rest)),
        '\'' => (value(), text(rest, first, quotes.escapes)),
        '"' if quotes.are_texts => (value(), text(rest, first, quotes.escapes)),
        '"' | '`' => {
            let length = text(rest, first, false);
            let name = rest.get(one..length - 1).unwrap_or_default();
            (Some(unquoted(format!("\"{name}\"").to_lowercase())), length)
        }
        '$' => dollar(rest),
        '?' => (
            value(),
            one + rest[one..].chars().take_while(char::is_ascii_digit).count(),
        ),
        _ if first.is_ascii_digit() => (value(), number(rest)),
        _ if first.is_alphabetic() || first == '_' => {
            let length = run(rest, |c| c.is_alphanumeric() || c == '_');
            if let Some(text) = prefixed_text(rest, length, quotes) {
                return (value(), text);
            }
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
        work::add(end);
        return (Some("?".to_owned()), end);
    }
    (Some("?".to_owned()), tag)
}

/// `1.5`, `0x1f`, `1_000` and `1e-3`.
fn number(rest: &str) -> usize {
    let length = run(rest, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_')
    });
    let (number, after) = rest.split_at(length);
    let signed = after.strip_prefix(['-', '+']).unwrap_or_default();
    let is_hexadecimal = number.starts_with("0x") || number.starts_with("0X");
    if is_hexadecimal
        || !number.ends_with(['e', 'E'])
        || !signed.starts_with(|c: char| c.is_ascii_digit())
    {
        return length;
    }
    length + 1 + run(signed, |c| c.is_ascii_digit() || c == '_')
}

fn run(rest: &str, keep: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !keep(c)).unwrap_or(rest.len())
}

/// The length of `E'…'`, `B'…'`, `X'…'` and `N'…'`, which are values as `'…'` is one.
fn prefixed_text(rest: &str, prefix: usize, quotes: Quotes) -> Option<usize> {
    let (prefix, after) = rest.split_at_checked(prefix)?;
    let is_prefix = ["e", "b", "x", "n"]
        .iter()
        .any(|known| prefix.eq_ignore_ascii_case(known));
    let escapes = quotes.escapes || prefix.eq_ignore_ascii_case("e");
    (is_prefix && after.starts_with('\'')).then(|| prefix.len() + text(after, '\'', escapes))
}

/// The length of a text or name with its quotes, or of all that is left when it never ends.
fn text(rest: &str, quote: char, escapes: bool) -> usize {
    quoted(rest, quote, escapes).unwrap_or(rest.len())
}

/// The length of a quoted text with its quotes, if it ends; a doubled quote belongs to the text.
fn quoted(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut signs = rest.char_indices().skip(1).peekable();
    while let Some((at, sign)) = signs.next() {
        if sign == quote && signs.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
        if sign == '\\' && escapes {
            signs.next();
        }
    }
    None
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
