//! Hides passwords in text that others wrote.

use std::borrow::Cow;

/// The text without user names and passwords of the URLs in it.
pub(crate) fn veiled(text: &str) -> Cow<'_, str> {
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
        ];
        for (text, expected) in table {
            assert_eq!(veiled(text), expected);
        }
    }
}
