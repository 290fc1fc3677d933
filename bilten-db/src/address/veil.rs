//! Hides passwords in text that others wrote.

use std::borrow::Cow;

/// The text without user names and passwords of the URLs in it, and without the passwords of settings such as
/// `host=db password=s3cret`.
pub(crate) fn veiled(text: &str) -> Cow<'_, str> {
    match without_urls(text) {
        Cow::Borrowed(text) => without_settings(text),
        Cow::Owned(text) => Cow::Owned(without_settings(&text).into_owned()),
    }
}

fn without_settings(text: &str) -> Cow<'_, str> {
    let mut veiled = String::new();
    let mut from = 0;
    while let Some((value, end)) = secret(text, from) {
        veiled.push_str(&text[from..value]);
        veiled.push_str("..");
        from = end;
    }
    match from {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(veiled + &text[from..]),
    }
}

/// Where the value of the first password behind `from` begins and ends.
fn secret(text: &str, from: usize) -> Option<(usize, usize)> {
    let value = text[from..].match_indices(['=', ':']).find_map(|(at, _)| {
        let (name, behind) = text.split_at(from + at);
        let behind = &behind[1..];
        let value = text.len() - behind.trim_start().len();
        // `://` is no setting.
        let is_set = value < text.len() && !behind.starts_with("//");
        (is_set && names_a_secret(name)).then_some(value)
    })?;
    Some((value, value + length(&text[value..])))
}

/// In any letters, and in quotes as some clients print their settings; those may be escaped, as in a text that was quoted as a whole.
fn names_a_secret(text: &str) -> bool {
    const NAMES: [&str; 4] = ["password", "passwd", "pwd", "secret"];
    let name = text.trim_end().trim_end_matches(['"', '\'', '\\']);
    let name = name.as_bytes();
    let ends_with = |known: &str| {
        let at = name.len().checked_sub(known.len());
        at.is_some_and(|at| name[at..].eq_ignore_ascii_case(known.as_bytes()))
    };
    NAMES.into_iter().any(ends_with)
}

/// Up to the quote that ends it, or else the next blank: a password may hold every other character.
fn length(value: &str) -> usize {
    let Some(opening) = opening(value) else {
        return value.find(char::is_whitespace).unwrap_or(value.len());
    };
    let (before, quoted) = value.split_at(opening);
    let (quote, inside) = quoted.split_at(1);
    // A quote that belongs to the password is escaped once more than those around it.
    let escapes = backslashes(before);
    let is_closing = |end: usize| backslashes(&inside[..end]) % (2 * escapes + 2) == escapes;
    let mut quotes = inside.match_indices(quote).map(|(at, _)| at);
    let end = quotes.find(|end| is_closing(*end));
    end.map_or(value.len(), |end| opening + end + 2)
}

/// Where the quote stands that begins it: in front, escaped or not, or within brackets as in `Some("s3 cret")`.
fn opening(value: &str) -> Option<usize> {
    let at = value.find(['"', '\''])?;
    let before = value[..at].trim_end_matches('\\');
    let has_a_blank = |part: &str| part.trim_start().contains(char::is_whitespace);
    let is_bracketed = before.trim_end().ends_with('(') && !before.split('(').any(has_a_blank);
    (before.is_empty() || is_bracketed).then_some(at)
}

fn backslashes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
}

/// The text without user names and passwords of the URLs in it.
fn without_urls(text: &str) -> Cow<'_, str> {
    let mut veiled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + "://".len());
        // A password may hold every character that ends a host, so the last `@` of the word counts.
        let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
        let hidden = behind[..end].rfind('@').unwrap_or(0);
        veiled.push_str(before);
        if hidden > 0 {
            veiled.push_str("..");
        }
        rest = &behind[hidden..];
    }
    match veiled.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(veiled + rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_and_no_password_is_left_in_a_url() {
        let table = [
            ("no answer", "no answer"),
            ("see https://a.b/c", "see https://a.b/c"),
            (
                "bad \"postgres://app:s3cret@db:1/a\" in line 2",
                "bad \"postgres://..@db:1/a\" in line 2",
            ),
            (
                "mysql://a:s3/cr@et@h/a and postgres://a@h",
                "mysql://..@h/a and postgres://..@h",
            ),
            ("postgres://", "postgres://"),
            (
                "host=db password=s3cret dbname=a",
                "host=db password=.. dbname=a",
            ),
            (
                "host=db PASSWORD = 's3\\' cret' user=a",
                "host=db PASSWORD = .. user=a",
            ),
            (
                "Server=db;Pwd=s3cret;x and password=",
                "Server=db;Pwd=.. and password=",
            ),
            (
                "postgres://a:b@c/d?password=s3cret",
                "postgres://..@c/d?password=..",
            ),
            ("the password is wrong", "the password is wrong"),
            (
                "host=db password=..s3cret user=a",
                "host=db password=.. user=a",
            ),
            ("password: s3cret, host: db", "password: .. host: db"),
            (
                "{\"host\":\"db\",\"password\":\"s3cret\"}",
                "{\"host\":\"db\",\"password\":..}",
            ),
            (
                "{\\\"host\\\":\\\"db\\\",\\\"password\\\":\\\"s3\\\\\\\" cret\\\\\\\\\\\",\\\"a\\\":1}",
                "{\\\"host\\\":\\\"db\\\",\\\"password\\\":..,\\\"a\\\":1}",
            ),
            (
                "password: Some(\"s3 \\\"cret\"), host: db",
                "password: ..), host: db",
            ),
            (
                "password: Some(\n    String(\"s3 cret\"),\n)",
                "password: ..),\n)",
            ),
            ("pwd: a (see \"b\")", "pwd: .. (see \"b\")"),
            ("password=(\"b c", "password=.."),
            ("Passwörter=a Password=ö", "Passwörter=a Password=.."),
            ("pwd=a pwd=b\tpwd=..", "pwd=.. pwd=..\tpwd=.."),
        ];
        for (text, expected) in table {
            assert_eq!(veiled(text), expected);
        }
    }
}
