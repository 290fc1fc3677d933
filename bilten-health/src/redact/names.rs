//! Which names are those of secrets: pure.

/// Ends of names whose value is a secret, in lower case and without `_`, `-` and spaces between their parts.
const SECRETS: [&str; 22] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "accountkey",
    "secretkey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "credential",
    "authorization",
    "cookie",
    "sessionid",
    "sessid",
    "connectionstring",
    "sharedaccesssignature",
];

/// Words that name a secret only as a whole: `pin`, `card_pin`, but neither `pinned` nor `spin`.
const WORDS: [&str; 11] = [
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
];

/// `password`, `dbPassword`, `x-api-key`, `tokens`, `auth`; not `password_expires`, which is no secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.trim_end_matches(|c: char| !c.is_alphabetic());
    let joined: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let joined = joined.to_ascii_lowercase();
    let single = joined.strip_suffix('s').unwrap_or(&joined);
    let is = |secret: &&str| joined.ends_with(*secret) || single.ends_with(*secret);
    match SECRETS.iter().find(|secret| is(secret)) {
        Some(&"pass") => begins_a_word(name, name.len() - "pass".len()),
        Some(_) => true,
        None => WORDS.iter().any(|word| ends_with_word(name, word)),
    }
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

fn ends_with_word(name: &str, word: &str) -> bool {
    let Some(at) = name.len().checked_sub(word.len()) else {
        return false;
    };
    let end = name.get(at..);
    end.is_some_and(|end| end.eq_ignore_ascii_case(word)) && begins_a_word(name, at)
}
