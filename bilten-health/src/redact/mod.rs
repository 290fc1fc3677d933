//! Makes the text of a foreign error fit to be stored, logged and shown.
//!
//! Two wishes pull at it: no password may be seen, and an error of which nothing is left helps nobody. What was decided:
//!
//! - Where a sign says that a secret comes (`password=`, `token: `, `--secret`, a header, a login in a URL, `-p` of `mysql`),
//!   everything is masked up to where the text surely goes on, whatever it looks like. A driver that hands over a connection string
//!   writes it so.
//! - What is told of such a name stays when it is one of a few fixed words (`not set`, `missing`, `must be ..`). Nobody who has a password
//!   such as `missing` has one.
//! - Where the sign is weak (`key: `, `code=`, brackets, `is`), or the name is a word of other trades (`pin`, `sig`), the value has to look as if
//!   a machine had made it, or the text has to speak of who may do something.
//! - Where a user may be a token (`https://x@h`, `redis://x@h`), a user is masked; where it is a name (`postgres://app@h`), it stays: it is what one
//!   looks for when a login fails.
//! - What a server repeats of a command that it does not know is masked as a whole: it is the user's data at best.
//! - Stored passwords (`$2b$..`, `salt=`, `passwordHash`) count as passwords: they can be tried at leisure.
//!
//! No list of shapes has an end. A secret in prose (`we use correct horse here`), under a name of its own or in the path of a URL is not found; the
//! check has to keep it out.

/// A pattern that is put together once; a test puts each together.
macro_rules! pattern {
    ($text:expr) => {
        std::sync::LazyLock::new(|| regex::Regex::new($text).expect("the pattern is constant"))
    };
}

mod commands;
mod glance;
mod headers;
mod keys;
mod names;
mod pairs;
mod prose;
mod room;
mod shapes;
mod urls;
mod values;

#[cfg(test)]
mod reported;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod weak;

use commands::{is_argument_of_a_secret, mask_commands};
use glance::may_hold_a_secret;
use headers::{Login, mask_auth_commands, mask_headers, mask_schemes};
use keys::mask_key_values;
use names::{names_a_secret, names_several};
use pairs::mask_pairs;
pub(crate) use room::bounded;
use serde_json::{Map, Value};
use shapes::mask_shapes;
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
    if window.len() < text.len() {
        // So does the end of the window.
        out.truncate(whole_words(&out).len());
    }
    if out.len() > MAX_BYTES || window.len() < text.len() {
        out.truncate(floor(&out, MAX_BYTES).len());
        out.push_str(LEFT_OUT);
    }
    out
}

/// All but the last word, of which at most [`MAX_BYTES`] go: a text without blanks is not lost.
fn whole_words(text: &str) -> &str {
    let least = floor(text, text.len().saturating_sub(MAX_BYTES)).len();
    let blank = text.rfind(char::is_whitespace).unwrap_or(0);
    &text[..blank.max(least)]
}

/// Puts the patterns together, which takes some milliseconds: better now than within the first check that fails.
pub(crate) fn prepare() {
    let _ = mask("setuser a");
}

/// Without credentials and control characters. Takes time in proportion to the text, whatever is in it.
fn mask(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        '\r' | '\n' | '\t' => c,
        _ if c.is_control() || turns_the_line(c) => ' ',
        _ => c,
    });
    // The lines are still needed: a header ends with its own. So are the tabs: a column has no other sign.
    let mut out: String = plain.collect();
    if may_hold_a_secret(&out) {
        out = without_secrets(out);
    }
    out.replace(['\r', '\n', '\t'], " ")
}

/// Ends a line, or turns its direction round, which shows a text as another one.
const fn turns_the_line(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn without_secrets(mut out: String) -> String {
    for step in [
        mask_shapes,
        mask_headers,
        mask_url_credentials,
        mask_logins,
        mask_schemes,
        mask_auth_commands,
        mask_commands,
        mask_key_values,
        mask_pairs,
    ] {
        out = step(&out);
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
    let is_pair = items.len() == 2 && names_a_secret(first);
    let mut login = Login::default();
    let mut previous = String::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let text = floor(item.as_str().unwrap_or_default(), MAX_BYTES).to_owned();
        let is_name = previous.starts_with('-') || is_pair;
        let follows = !previous.is_empty()
            && (is_name && names_a_secret(&previous)
                || is_argument_of_a_secret(first, &previous, &text));
        let is_secret = !text.is_empty() && (login.takes(&text) || follows);
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
