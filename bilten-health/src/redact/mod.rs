//! Makes the text of a foreign error fit to be stored, logged and shown.

/// A pattern that is put together once; a test puts each together.
macro_rules! pattern {
    ($text:expr) => {
        std::sync::LazyLock::new(|| regex::Regex::new($text).expect("the pattern is constant"))
    };
}

mod commands;
mod headers;
mod keys;
mod names;
mod room;
mod shapes;
mod urls;
mod values;

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use commands::{is_argument_of_a_secret, mask_commands};
use headers::{mask_auth_commands, mask_headers, mask_schemes};
use keys::mask_key_values;
use names::{names_a_secret, names_several};
pub(crate) use room::bounded;
use serde_json::{Map, Value};
use shapes::{mask_shapes, mask_short_names};
use urls::{mask_logins, mask_url_credentials};

/// Longest error text kept, in bytes; a driver may hand over a whole statement.
const MAX_BYTES: usize = 1024;

/// As much of a text is looked at.
const WINDOW: usize = 8 * MAX_BYTES;

/// As much of a text is kept until it is masked.
pub(crate) const RAW_BYTES: usize = WINDOW + 8;

/// Values nested deeper are left out: nobody reads them, and walking them takes stack.
const MAX_DEPTH: usize = 8;

/// What stands for something that was left out.
const LEFT_OUT: &str = "…";

/// Cuts to [`MAX_BYTES`], turns control characters into spaces and masks credentials.
pub(crate) fn redact(text: &str) -> String {
    // Masked before it is cut: a cut in the middle of `user:pw@host` would hide the `@`.
    let window = floor(text, WINDOW);
    let mut out = mask(window);
    if out.len() > MAX_BYTES || window.len() < text.len() {
        out.truncate(floor(&out, MAX_BYTES).len());
        out.push_str(LEFT_OUT);
    }
    out
}

/// Puts the patterns together, which takes some milliseconds: better now than within the first check that fails.
pub(crate) fn prepare() {
    let _ = mask("setuser a");
}

/// Without credentials and control characters. Takes time in proportion to the text, whatever is in it.
fn mask(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        '\r' | '\n' | '\t' => c,
        _ if c.is_control() => ' ',
        _ => c,
    });
    // The lines are still needed: a header ends with its own. So are the tabs: a column has no other sign.
    let mut out: String = plain.collect();
    for step in [
        mask_shapes,
        mask_headers,
        mask_url_credentials,
        mask_logins,
        mask_schemes,
        mask_auth_commands,
        mask_commands,
        mask_key_values,
        mask_short_names,
    ] {
        out = step(&out);
    }
    out.replace(['\r', '\n', '\t'], " ")
}

/// The same for each text within `value`, however nested; what stands under the name of a secret is masked whole.
pub(crate) fn redact_value(name: &str, value: Value) -> Value {
    redact_nested(name, value, 0)
}

fn redact_nested(name: &str, value: Value, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value,
        Value::Number(_) if names_several(name) => value,
        _ if names_a_secret(name) => "***".into(),
        Value::Number(_) => value,
        Value::String(text) => redact(&text).into(),
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => LEFT_OUT.into(),
        Value::Array(items) => redact_items(name, items, depth + 1),
        Value::Object(fields) => redact_fields(fields, depth + 1),
    }
}

/// Items may be the arguments of a command: `["--password", "x"]`.
fn redact_items(name: &str, items: Vec<Value>, depth: usize) -> Value {
    let first = items
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let first = floor(&first, MAX_BYTES);
    let mut previous = String::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let text = floor(item.as_str().unwrap_or_default(), MAX_BYTES).to_owned();
        let follows_a_name = previous.starts_with('-') && names_a_secret(&previous);
        let is_secret = !text.is_empty()
            && (follows_a_name
                || !previous.is_empty() && is_argument_of_a_secret(first, &previous, &text));
        kept.push(match is_secret {
            true => "***".into(),
            false => redact_nested(name, item, depth),
        });
        previous = text;
    }
    kept.into()
}

fn redact_fields(fields: Map<String, Value>, depth: usize) -> Value {
    // `{"name": "DB_PASSWORD", "value": "x"}`, as in a list of variables.
    let named = fields.get("name").or_else(|| fields.get("key"));
    let named = named.and_then(Value::as_str).is_some_and(names_a_secret);
    let masked = fields.into_iter().map(|(name, value)| {
        let value = match named && name.eq_ignore_ascii_case("value") {
            true => "***".into(),
            false => redact_nested(&name, value, depth),
        };
        (redact(&name), value)
    });
    masked.collect::<Map<_, _>>().into()
}

/// What has to be kept of a text so that it can be masked later: all that is looked at, and a little to show that there was more.
pub(crate) fn cut(text: &str) -> &str {
    floor(text, RAW_BYTES)
}

/// The longest prefix of `text` of at most `max` bytes that ends between two characters.
fn floor(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
