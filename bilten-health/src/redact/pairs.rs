//! A name and a value where the sign between them, or the name, is a weak one: the value has to tell as well. Pure.

use super::names::{WORDS, names_a_secret};
use super::prose::{
    is_a_placeholder, is_a_switch, is_said, looks_like_one, looks_made_up, says_there_is_none,
};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// `name%3D`, in front of a value: a pair that was encoded to be a part of a URL, once or more often; and the same of JSON.
static ENCODED: LazyLock<Regex> = pattern!(concat!(
    r"(?i)(?:^|[^a-z0-9_.%-]|%(?:25){0,3}[0-9a-f]{2})([a-z][a-z0-9_.-]{0,63})",
    r"(?:%(?:25){0,3}22)?%(?:25){0,3}3[ad](?:%(?:25){0,3}2[02]|\+)*"
));

/// Its value, up to an encoded `&` or quote.
static ENCODED_VALUE: LazyLock<Regex> =
    pattern!(r#"^(?:[^\s"'<>&%]|%[^2\s"'<>&]|%2[^26\s"'<>&])+"#);

/// `("password", "x")`, as a tuple, a pair of a map or a list of headers is written.
static TUPLE: LazyLock<Regex> = pattern!(concat!(
    r#"([(\[{]\s*\\?["'`]([A-Za-z0-9_. -]{1,64})\\?["'`]\s*,\s*(?:[A-Za-z_]{1,32}\()?)"#,
    r#"("(?:[^"\\]|\\.)*"|\\"[^"]*"|'[^']*'|`[^`]*`|[^\s,()\[\]{}"'`]+)(\)?\s*[)\]}])"#
));

/// `Password (x)`, `(password, x)`, `the password is x`, `Password for user u: x`.
static LOOSE: LazyLock<Regex> = pattern!(concat!(
    r"(?i)(\b(?:pass(?:word|wd|phrase|code)|secret|token|credential|api[ _-]?key)(?: \(| (?:is|was)(?: now)?:? )",
    r"|\((?:pass(?:word|wd|phrase|code)|secret|token|credential|api[ _-]?key), ",
    r#"|\bpass(?:word|phrase) for [^\r\n:,;]{1,40}: )([^\s"'`,;()]+)"#
));

/// The names of [`WORDS`], which are words elsewhere: they count with `=`, or quoted as in JSON.
static SHORT_NAME: LazyLock<Regex> = LazyLock::new(|| {
    let words = WORDS.join("|");
    let pattern = format!(
        r#"(?i)(^|[^a-z0-9])({words}|[a-z]{{0,5}}sessid|community|code_verifier|assertion|saml(?:response|request))((?:["'\]]{{0,2}}\s*=\s*|\\?["']\s*:\s*))("[^"\r\n]*"|'[^'\r\n]*'|[^\s"'&;,)\]}}<>]+)"#
    );
    Regex::new(&pattern).expect("the pattern is constant")
});

/// The same with a colon alone, which few write behind them in another meaning.
static COLON_NAME: LazyLock<Regex> = pattern!(concat!(
    r"(?i)(^|[^a-z0-9])(jwt|otp|totp|pin|sid)(\s*:\s*)",
    r#"("[^"\r\n]*"|'[^'\r\n]*'|[^\s"'&;,)\]}<>]+)"#
));

/// What a provider of logins hands over in a URL: of use once, and to whoever comes first.
static CODE: LazyLock<Regex> =
    pattern!(r#"(?i)([?&#]code=|\bcode(?:["'])?\s*[:=]\s*["']?)([^\s&"'#<>,;)]+)"#);

/// A key has a longer name where it is none: `primary_key=id`.
static KEY: LazyLock<Regex> = pattern!(concat!(
    r#"(?i)(^|[\s?&;,"'({\[])(key["'\]]{0,2}\s*([=:])\s*)"#,
    r#"("[^"\r\n]*"|'[^'\r\n]*'|[^\s"'&;,)\]}<>]+)"#
));

/// A header of somebody's own: `X-ClickHouse-Key: x`.
static KEY_HEADER: LazyLock<Regex> = pattern!(concat!(
    r#"(?i)(^|[^a-z0-9-])(x-(?:[a-z0-9]{1,24}-){0,3}?([a-z0-9]{1,24})-key["']?\s*[:=]\s*)"#,
    r#"("[^"\r\n]*"|'[^'\r\n]*'|[^\s"'&;,)\]}<>]+)"#
));

/// `API key x is invalid`, `bad token x`: no sign at all, so `x` has to tell.
static PLAIN: LazyLock<Regex> = pattern!(
    r#"(?i)(\b(?:(?:api|access|secret)[ _-]?key|token|secret|password) ["'`<]?)([a-z0-9+/=_-]{16,})"#
);

/// In front of `key`, when it is one of data.
const OF_DATA: [&str; 26] = [
    "cache",
    "candidate",
    "composite",
    "duplicate",
    "foreign",
    "hash",
    "idempotency",
    "index",
    "lock",
    "lookup",
    "map",
    "message",
    "missing",
    "object",
    "partition",
    "primary",
    "public",
    "queue",
    "range",
    "record",
    "routing",
    "row",
    "shard",
    "sort",
    "surrogate",
    "unique",
];

/// Words of those who ask for a key that opens something.
static ASKS: LazyLock<Regex> = pattern!(concat!(
    r"(?i)\b(?:api|auth(?:entication|enticate|enticated|orization|ori[sz]ed)?|unauthori[sz]ed|unauthenticated|credentials?",
    r"|forbidden|licen[cs]e|(?:invalid|bad|wrong|incorrect|revoked) key|401|403)\b"
));

/// `token%3Dx`, `("password", "x")`, `Password (x)`, `sig=x`, `"sid": "x"`, `pin: x`, `?code=x`, `key=x`.
pub(super) fn mask_pairs(text: &str) -> String {
    let text = mask_encoded(text);
    let text = TUPLE.replace_all(&text, tuple);
    let text = LOOSE.replace_all(&text, loose);
    let text = SHORT_NAME.replace_all(&text, short);
    let text = COLON_NAME.replace_all(&text, short);
    let text = CODE.replace_all(&text, code);
    let text = KEY_HEADER.replace_all(&text, key_header);
    let text = PLAIN.replace_all(&text, plain);
    let asks = LazyLock::new(|| ASKS.is_match(&text));
    let key = |found: &Captures<'_>| match opens_something(found, &text, &asks) {
        true => format!("{}{}***", &found[1], &found[2]),
        false => found[0].to_owned(),
    };
    KEY.replace_all(&text, key).into_owned()
}

/// A value that is no secret may hold another pair.
fn mask_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for found in ENCODED.captures_iter(text) {
        let start = found.get(0).map_or(0, |whole| whole.end());
        if start < done || !names_a_secret(&found[1]) {
            continue;
        }
        let length = ENCODED_VALUE
            .find(&text[start..])
            .map_or(0, |value| value.len());
        if length > 0 {
            out.push_str(&text[done..start]);
            out.push_str("***");
            done = start + length;
        }
    }
    out.push_str(&text[done..]);
    out
}

fn tuple(found: &Captures<'_>) -> String {
    match names_a_secret(&found[2]) {
        true => format!("{}***{}", &found[1], &found[4]),
        false => found[0].to_owned(),
    }
}

fn loose(found: &Captures<'_>) -> String {
    match looks_like_one(found[2].trim_end_matches(['.', ':', '!'])) {
        true => format!("{}***", &found[1]),
        false => found[0].to_owned(),
    }
}

/// `GPIO pin: 7` and `sig=9` are no secrets, for nobody has such short ones; `sig: SIGTERM` is none either.
fn short(found: &Captures<'_>) -> String {
    let value = found[4].trim_matches(['"', '\'']);
    let name = found[2].to_ascii_lowercase();
    let has_a_length = ["pin", "otp", "totp", "sig", "signature"].contains(&name.as_str());
    let signal = value.starts_with("SIG") && value.bytes().all(|byte| byte.is_ascii_uppercase());
    let told = says_there_is_none(value) || is_a_switch(value) || is_a_placeholder(value);
    match signal || told || has_a_length && value.len() < SHORTEST {
        true => found[0].to_owned(),
        false => format!("{}{}{}***", &found[1], &found[2], &found[3]),
    }
}

fn key_header(found: &Captures<'_>) -> String {
    let of_data = OF_DATA
        .iter()
        .any(|data| found[3].eq_ignore_ascii_case(data));
    match of_data || is_said(&found[4]) || says_there_is_none(&found[4]) {
        true => found[0].to_owned(),
        false => format!("{}{}***", &found[1], &found[2]),
    }
}

fn plain(found: &Captures<'_>) -> String {
    match looks_made_up(&found[2]) {
        true => format!("{}***", &found[1]),
        false => found[0].to_owned(),
    }
}

/// The shortest code that anybody lets in.
const SHORTEST: usize = 4;

/// Not of an error or of the end of a process: `code=500`, `code=E1001`.
fn code(found: &Captures<'_>) -> String {
    let in_a_url = found[1].starts_with(['?', '&', '#']);
    let plain = found[2].trim_matches(|c: char| !c.is_alphanumeric());
    let long = in_a_url
        && plain.len() >= 8
        && looks_like_one(&plain.replace(['-', '_', '.', '/', '%'], ""));
    match long || looks_made_up(plain) {
        true => format!("{}***", &found[1]),
        false => found[0].to_owned(),
    }
}

/// Whether the value of a `key` is a secret; `asks` where the text speaks of who may do something.
fn opens_something(found: &Captures<'_>, text: &str, asks: &bool) -> bool {
    let whole = found.get(0).map_or(0..0, |whole| whole.range());
    // `<add key="host" value="x"/>`: the key is a name.
    if text[whole.end..].trim_ascii_start().starts_with("value=") {
        return false;
    }
    let before = text[..whole.start].trim_end();
    let before = before.rsplit(|c: char| !c.is_alphanumeric()).next();
    let of_data =
        before.is_some_and(|word| OF_DATA.iter().any(|data| word.eq_ignore_ascii_case(data)));
    let behind = text[whole.end..].trim_start_matches([',', ' ']);
    let of_a_message = ["partition=", "partition ", "offset="];
    let of_data = of_data
        || of_a_message.iter().any(|name| behind.starts_with(name))
        || says_there_is_none(&found[4]);
    match &found[3] {
        _ if of_data => false,
        ":" => *asks && begins_as_one(&found[4]) || looks_made_up(&found[4]),
        _ => true,
    }
}

fn begins_as_one(value: &str) -> bool {
    value.starts_with(|c: char| c.is_alphanumeric() || "\"'".contains(c))
}
