//! Which names are those of secrets: pure.

use std::sync::LazyLock;

/// What secrets are called, in lower case: in a text as well as as a name. A blank stands for anything that may be between two
/// words of one name: nothing, `_`, `-`, a blank.
pub(super) const NOUNS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "secret",
    "token",
    "api key",
    "application key",
    "access key",
    "account key",
    "secret key",
    "private key",
    "signing key",
    "encryption key",
    "subscription key",
    "pre shared key",
    "credential",
    "session id",
];

/// Names under which all is secret, but which in a text stand in front of more than the secret; others find it there.
const WHOLE: [&str; 5] = [
    "authorization",
    "cookie",
    "sess id",
    "connection string",
    "shared access signature",
];

/// Words that name a secret only as a whole: `pin`, `card_pin`, but neither `pinned` nor `spin`. In a text they need a sign as well.
pub(super) const WORDS: [&str; 15] = [
    "auth",
    "bearer",
    "jwt",
    "sid",
    "sig",
    "signature",
    "pin",
    "otp",
    "totp",
    "dsn",
    "pw",
    "psk",
    "hmac",
    "salt",
    "bindpw",
];

/// What is kept of a secret in place of itself, and helps to find it: `passwordHash`, `token_digest`.
pub(super) const FORMS: [&str; 3] = ["hash", "salt", "digest"];

/// The names as they are once all between their words is taken out.
static JOINED: LazyLock<Vec<String>> = LazyLock::new(|| {
    let nouns = NOUNS.iter().chain(&WHOLE);
    nouns.map(|noun| noun.replace(' ', "")).collect()
});

/// `password`, `dbPassword`, `x-api-key`, `tokens`, `auth`, `passwordHash`; not `password_expires`, which is no secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.trim_end_matches(|c: char| !c.is_alphabetic());
    let joined: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let joined = joined.to_ascii_lowercase();
    if FORMS.iter().any(|form| is_noun(joined.strip_suffix(form))) {
        return true;
    }
    let single = joined.strip_suffix('s').unwrap_or(&joined);
    let is = |secret: &&String| joined.ends_with(*secret) || single.ends_with(*secret);
    match JOINED.iter().find(is) {
        Some(noun) if noun == "pass" => begins_a_pass(name, name.len() - "pass".len()),
        Some(_) => true,
        None => WORDS.iter().any(|word| ends_with_word(name, word)),
    }
}

/// `passes` are something else.
fn is_noun(name: Option<&str>) -> bool {
    let is = |name: &str| {
        let noun = JOINED.iter().find(|noun| name.ends_with(*noun));
        noun.is_some_and(|noun| noun != "pass" || name == "pass")
    };
    name.is_some_and(is)
}

/// `tokens`: what counts them is no secret.
pub(super) fn names_several(name: &str) -> bool {
    name.trim_end().ends_with(['s', 'S']) && !name.to_ascii_lowercase().ends_with("pass")
}

/// `compass` ends in `pass`, `dbPass` and `db_pass` have it as a word.
pub(super) fn begins_a_word(text: &str, at: usize) -> bool {
    let Some(before) = text.get(..at).and_then(|before| before.chars().next_back()) else {
        return true;
    };
    let upper = text[at..].starts_with(|c: char| c.is_ascii_uppercase());
    !before.is_alphabetic() || upper && before.is_lowercase()
}

/// English words that end in `pass`.
const PASSES: [&str; 16] = [
    "allpass",
    "bandpass",
    "bypass",
    "compass",
    "encompass",
    "firstpass",
    "highpass",
    "lowpass",
    "multipass",
    "onepass",
    "outpass",
    "overpass",
    "surpass",
    "trespass",
    "twopass",
    "underpass",
];

/// `dbpass` and `SSHPASS` are names; `compass` is none.
pub(super) fn begins_a_pass(text: &str, at: usize) -> bool {
    let letters = |c: char| c.is_ascii_alphabetic();
    let before = text[..at].trim_end_matches(letters);
    let end = (at + "pass".len()).min(text.len());
    let word = &text[before.len()..end];
    let long = word.len() > LONGEST_PASS;
    begins_a_word(text, at) || !long && !PASSES.iter().any(|pass| word.eq_ignore_ascii_case(pass))
}

/// No name of this kind is longer.
const LONGEST_PASS: usize = 24;

fn ends_with_word(name: &str, word: &str) -> bool {
    let Some(at) = name.len().checked_sub(word.len()) else {
        return false;
    };
    let end = name.get(at..);
    end.is_some_and(|end| end.eq_ignore_ascii_case(word)) && begins_a_word(name, at)
}
