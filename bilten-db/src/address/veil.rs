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
    let mut rest = text;
    while let Some((value, end)) = secret(rest) {
        veiled.push_str(&rest[..value]);
        veiled.push_str("..");
        rest = &rest[end..];
    }
    match veiled.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(veiled + rest),
    }
}

/// Where the value of the first password begins and ends.
fn secret(text: &str) -> Option<(usize, usize)> {
    const NAMES: [&str; 4] = ["password", "passwd", "pwd", "secret"];
    // The same bytes, letter for letter.
    let lower = text.to_ascii_lowercase();
    let value = lower.match_indices('=').find_map(|(at, _)| {
        let name = lower[..at].trim_end();
        let named = NAMES.iter().any(|known| name.ends_with(known));
        let blanks = lower[at + 1..].len() - lower[at + 1..].trim_start().len();
        let value = at + 1 + blanks;
        (named && value < text.len() && !text[value..].starts_with("..")).then_some(value)
    })?;
    Some((value, value + length(&text[value..])))
}

/// Up to the quote that ends it, or else the next blank: a password may hold every other character.
fn length(value: &str) -> usize {
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(quote) = quote else {
        return value.find(char::is_whitespace).unwrap_or(value.len());
    };
    let mut escaped = false;
    let end = value[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(value.len(), |end| end + 2)
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
        ];
        for (text, expected) in table {
            assert_eq!(veiled(text), expected);
        }
    }
}
