//! A statement's words, without what two runs of it differ in.

/// The statement's words: values as `?`, lists of values as one, no comments, one spelling of keywords.
pub(super) fn normalized(sql: &str) -> Vec<String> {
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
