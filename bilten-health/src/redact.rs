//! Makes the text of a foreign error fit to be stored, logged and shown.

use serde_json::Value;

/// Longest error text kept, in bytes; a driver may hand over a whole statement.
const MAX_BYTES: usize = 1024;

/// Words whose value is a secret when `=` or `:` follows.
const SECRET_KEYS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
];

/// Values nested deeper are left out: nobody reads them, and walking them takes stack.
const MAX_DEPTH: usize = 8;

/// Cuts to [`MAX_BYTES`], turns control characters into spaces and masks credentials.
pub(crate) fn redact(text: &str) -> String {
    // Masked before it is cut: a cut in the middle of `user:pw@host` would hide the `@`.
    let window = floor(text, 8 * MAX_BYTES);
    let mut out: String = window
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    out = mask_url_credentials(&out);
    out = mask_logins(&out);
    out = mask_bearer(&out);
    out = mask_key_values(&out);
    if out.len() > MAX_BYTES || window.len() < text.len() {
        out.truncate(floor(&out, MAX_BYTES).len());
        out.push('…');
    }
    out
}

/// The same for each text within `value`, however nested; what stands under the name of a secret is masked whole.
pub(crate) fn redact_value(name: &str, value: Value) -> Value {
    redact_nested(name, value, 0)
}

fn redact_nested(name: &str, value: Value, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value,
        _ if names_a_secret(name) => "***".into(),
        Value::Number(_) => value,
        Value::String(text) => redact(&text).into(),
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => "…".into(),
        Value::Array(items) => {
            let items = items.into_iter();
            items
                .map(|item| redact_nested(name, item, depth + 1))
                .collect()
        }
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields
                .map(|(name, value)| {
                    let value = redact_nested(&name, value, depth + 1);
                    (redact(&name), value)
                })
                .collect()
        }
    }
}

/// `password`, `dbPassword`, `x-api-key`; neither `tokens` nor `password_expires`, which are no secrets.
fn names_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|key| name.ends_with(key))
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

/// `user:pw@host`, as some drivers write it, becomes `***@host`.
fn mask_logins(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Only what surely ends it: a password may hold commas and brackets.
    for word in text.split_inclusive(|c: char| c.is_whitespace() || "\"'`<>".contains(c)) {
        match word.rfind('@') {
            Some(at) if word[..at].contains(':') && !word[..at].ends_with("***") => {
                out.push_str("***");
                out.push_str(&word[at..]);
            }
            _ => out.push_str(word),
        }
    }
    out
}

/// `Authorization: Bearer x` becomes `Authorization: Bearer ***`.
fn mask_bearer(text: &str) -> String {
    const WORD: &str = "bearer ";
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(found) = lower[at..].find(WORD) {
        let start = at + found + WORD.len();
        let length = lower[start..].find(|c: char| c.is_whitespace() || "\"'`<>,;)}".contains(c));
        let end = length.map_or(text.len(), |length| start + length);
        out.push_str(&text[at..start]);
        // `bearer token` is English; a token is longer than a word.
        let looks_like_one =
            end - start >= 12 || lower[start..end].contains(|c: char| c.is_ascii_digit());
        out.push_str(if looks_like_one {
            "***"
        } else {
            &text[start..end]
        });
        at = end;
    }
    out.push_str(&text[at..]);
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
    use super::{redact, redact_value};
    use serde_json::{Value, json};

    #[test]
    fn credentials_never_survive_however_nested() {
        let value = json!({
            "url": "db://u:hunter2@h",
            "nodes": [{ "reason": "password=hunter2" }, ["redis://:hunter2@h"]],
            "dbPassword": "hunter2",
            "api-key": 4711,
            "secret": { "any": ["hunter2"] },
            "token": null,
            "tokens": 3,
            "password_expires": "in 3 days",
            "db://u:hunter2@h": 1,
        });
        let masked = json!({
            "url": "db://***@h",
            "nodes": [{ "reason": "password=***" }, ["redis://***@h"]],
            "dbPassword": "***",
            "api-key": "***",
            "secret": "***",
            "token": null,
            "tokens": 3,
            "password_expires": "in 3 days",
            "db://***@h": 1,
        });
        assert_eq!(redact_value("config", value), masked);
        assert_eq!(redact_value("password", json!(["hunter2"])), json!("***"));
        let deep = (0..500).fold(json!("hunter2"), |inner, _| json!([inner]));
        assert!(!redact_value("deep", deep).to_string().contains("hunter2"));
        assert_eq!(redact_value("lag_ms", Value::from(1.5)), json!(1.5));
    }

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
            (
                "Authorization: Bearer abc.def.0123456789, x",
                "Authorization: Bearer ***, x",
            ),
            ("bob:hunter2@tcp(db:3306)/shop", "***@tcp(db:3306)/shop"),
            ("to 'bob:h,(2@db' or bob@db", "to '***@db' or bob@db"),
            ("a bearer token is wanted", "a bearer token is wanted"),
            ("x-api-key: abc", "x-api-key: ***"),
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
