//! Makes the text of a foreign error fit to be stored, logged and shown.

/// Longest error text kept, in bytes; a driver may hand over a whole statement.
const MAX_BYTES: usize = 1024;

/// Words whose value is a secret when `=` or `:` follows.
const SECRET_KEYS: [&str; 8] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
];

/// Cuts to [`MAX_BYTES`], turns control characters into spaces and masks credentials.
pub(crate) fn redact(text: &str) -> String {
    // Masked before it is cut: a cut in the middle of `user:pw@host` would hide the `@`.
    let window = floor(text, 8 * MAX_BYTES);
    let mut out: String = window
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    out = mask_url_credentials(&out);
    out = mask_key_values(&out);
    if out.len() > MAX_BYTES || window.len() < text.len() {
        out.truncate(floor(&out, MAX_BYTES).len());
        out.push('…');
    }
    out
}

/// The longest prefix of `text` of at most `max` bytes that ends between two characters.
fn floor(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `scheme://user:pw@host` becomes `scheme://***@host`.
fn mask_url_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || "\"'`<>".contains(c))
            .unwrap_or(after.len());
        let url = &after[..end];
        // The last `@` counts: a password may hold `@`, and even `/`, when nobody encoded it.
        match url.rfind('@') {
            Some(at) => {
                out.push_str("***");
                out.push_str(&url[at..]);
            }
            None => out.push_str(url),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// `password=x`, `token: x` and the like become `password=***`.
fn mask_key_values(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some((key_end, value)) = next_secret(&lower, at) {
        out.push_str(&text[at..key_end]);
        out.push_str("***");
        at = value;
    }
    out.push_str(&text[at..]);
    out
}

/// The next secret at or after `from`: where its value starts and where it ends.
fn next_secret(lower: &str, from: usize) -> Option<(usize, usize)> {
    SECRET_KEYS
        .iter()
        .flat_map(|key| {
            lower[from..]
                .match_indices(key)
                .map(|(i, _)| from + i + key.len())
        })
        .filter_map(|key_end| {
            let rest = lower[key_end..].trim_start_matches(['"', '\'']);
            let sign = rest.trim_start();
            let value = sign.strip_prefix(['=', ':'])?.trim_start();
            let start = lower.len() - value.len();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let body = &value[quote.map_or(0, char::len_utf8)..];
            let length = body.find(|c: char| match quote {
                Some(q) => c == q,
                None => c.is_whitespace() || matches!(c, '&' | ',' | ';' | ')' | '}'),
            });
            let body_start = lower.len() - body.len();
            let end = length.map_or(lower.len(), |n| {
                body_start + n + quote.map_or(0, char::len_utf8)
            });
            (end > start).then_some((start, end))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn credentials_never_survive() {
        let cases = [
            (
                "cannot reach postgres://bob:hunter2@db:5432/x",
                "cannot reach postgres://***@db:5432/x",
            ),
            ("redis://:p@ss/w@rd@host:1", "redis://***@host:1"),
            (
                "two http://a:b@c and http://d:e@f",
                "two http://***@c and http://***@f",
            ),
            ("http://plain/path", "http://plain/path"),
            (
                "host=db password=hunter2 user=x",
                "host=db password=*** user=x",
            ),
            ("PASSWORD = 'a b' x", "PASSWORD = *** x"),
            (r#"{"token":"abc","n":1}"#, r#"{"token":***,"n":1}"#),
            ("x?api_key=abc&y=2", "x?api_key=***&y=2"),
            (
                "password authentication failed",
                "password authentication failed",
            ),
            ("secret=", "secret="),
        ];
        for (input, expected) in cases {
            assert_eq!(redact(input), expected, "{input}");
        }
    }

    #[test]
    fn long_and_strange_text_is_cut_and_flattened() {
        let long = redact(&"ä".repeat(100_000));
        assert!(long.len() < 1030 && long.ends_with('…'));
        assert_eq!(redact("a\r\nb\u{1b}[31m"), "a  b [31m");
        let hidden = redact(&format!(
            "{}postgres://u:{}@h",
            " ".repeat(1000),
            "p".repeat(200)
        ));
        assert!(
            !hidden.contains("ppp"),
            "the cut must not free the password"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_a_bounded_text(text in ".{0,400}") {
            proptest::prop_assert!(redact(&text).len() <= 1030);
        }

        #[test]
        fn any_password_in_a_url_is_masked(pw in "[a-z0-9:@/?#%]{8,20}") {
            let out = redact(&format!("failed: db://user:{pw}@host/name"));
            proptest::prop_assert!(!out.contains(&pw), "{out}");
        }
    }
}
