//! Values that stand behind the name of a secret: pure.

use super::names::begins_a_word;
use super::values::{Open, bare, closing, value_length};

/// Names of secrets as they stand in a text, in lower case.
const KEYS: [&str; 41] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pass",
    "pwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "accesskey",
    "account_key",
    "account-key",
    "accountkey",
    "secret_key",
    "secret-key",
    "secretkey",
    "private_key",
    "private-key",
    "privatekey",
    "signing_key",
    "signing-key",
    "encryption-key",
    "subscription-key",
    "pre_shared_key",
    "pre-shared-key",
    "presharedkey",
    "api key",
    "access key",
    "secret key",
    "signing key",
    "signingkey",
    "encryption_key",
    "encryptionkey",
    "credential",
    "session_id",
    "session-id",
    "sessionid",
];

/// Keys whose value follows at once, as in SQL, or that are masked as headers when it is not quoted.
const QUOTED_KEYS: [&str; 4] = ["identified by", "_password by", "authorization", "cookie"];

/// More letters than this are no name of a type.
const LONGEST_NAME: usize = 128;

/// The longest word that is looked back at for the `--` of an argument.
const LONGEST_ARGUMENT: usize = 128;

/// `password=x`, `token: x`, `--password x`, `Secret("x")`, `IDENTIFIED BY 'x'` and the like become `password=***`.
pub(super) fn mask_key_values(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let keys = KEYS.iter().chain(&QUOTED_KEYS);
    let mut places: Vec<(usize, &str)> = keys
        .flat_map(|key| lower.match_indices(key))
        .filter(|&(at, key)| key != "pass" || begins_a_word(text, at))
        .collect();
    places.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let (mut done, mut open) = (0, Open::default());
    for (at, key) in places {
        // Within a value that is masked already there is nothing to look for.
        if at < done {
            continue;
        }
        open.read_up_to(&lower, at);
        let place = Place {
            text,
            lower: &lower,
            at,
            key,
        };
        if let Some((start, end)) = place.secret(&open) {
            out.push_str(&text[done..start]);
            out.push_str("***");
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// A key in a text.
struct Place<'text> {
    text: &'text str,
    lower: &'text str,
    at: usize,
    key: &'text str,
}

impl<'text> Place<'text> {
    /// The value that belongs to the key; `open` is what is open in front of it.
    fn secret(&self, open: &Open) -> Option<(usize, usize)> {
        let behind = &self.lower[self.at + self.key.len()..];
        let plural = behind.starts_with('s');
        let name_end =
            behind[usize::from(plural)..].trim_start_matches(|c: char| c.is_ascii_digit());
        let name_end = without_suffixes(name_end);
        if let Some(inside) = self.wrapped(behind) {
            return self.range(inside, inside_length(inside));
        }
        let closed = name_end.trim_start_matches(['"', '\'', '`', '\\', ']']);
        let rest = closed.trim_start();
        let signed = rest.trim_start_matches([':', '=']);
        let has_sign = signed.len() < rest.len();
        let value = if has_sign {
            signed.strip_prefix('>').unwrap_or(signed).trim_start()
        } else if self.is_argument() {
            // An argument: its value is the next one.
            let value = closed.trim_start_matches([',', ' ', '\t', '\n']);
            (value.len() < closed.len()).then_some(value)?
        } else if closed.starts_with('\t') {
            // The next column.
            return self.range(rest, bare(rest, ' ', ""));
        } else {
            // SQL has no sign, but quotes; English has neither.
            let bare = rest.len() < closed.len() && closed.len() == name_end.len();
            rest.starts_with(['\'', '"'])
                .then_some(rest)
                .filter(|_| bare)?
        };
        let quoted = value.starts_with(['"', '\'', '\\', '[']);
        let first = value.split(|c: char| !c.is_alphanumeric()).next()?;
        let counts = plural && !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
        if counts || !quoted && QUOTED_KEYS.contains(&self.key) {
            return None;
        }
        // MySQL says so of each login that fails.
        if has_sign && self.lower[..self.at].ends_with("using ") && matches!(first, "yes" | "no") {
            return None;
        }
        let sign = rest.chars().next().filter(|_| has_sign).unwrap_or(' ');
        self.range(value, value_length(value, sign, open.closers()))
    }

    /// The first `length` bytes of `value`, which is an end of the text.
    fn range(&self, value: &str, length: usize) -> Option<(usize, usize)> {
        let start = self.lower.len() - value.len();
        (length > 0).then_some((start, start + length))
    }

    /// What stands behind the bracket in `Password("x")`, `SecretString("x")` and `Token(x)`. `token(s)` is English.
    fn wrapped(&self, behind: &'text str) -> Option<&'text str> {
        let name = |c: char| c.is_alphanumeric() || c == '_';
        // Looked at from each key again: so not without an end.
        let end = behind
            .char_indices()
            .take(LONGEST_NAME)
            .find(|&(_, c)| !name(c))?;
        let call = &behind[end.0..];
        let inside = call.strip_prefix('(')?;
        let quoted = inside.trim_start().starts_with(['"', '\'', '\\']);
        let is_key = call.len() == behind.len();
        let is_type = is_key && self.text[self.at..].starts_with(|c: char| c.is_ascii_uppercase());
        let empty = inside.starts_with([')', ' ']) || inside.starts_with("s)");
        (quoted || is_type && !empty).then_some(inside)
    }

    /// Whether the word that ends with the key has begun with `--`, as in `--db-password` and `["--password"`.
    fn is_argument(&self) -> bool {
        let mut from = self.at.saturating_sub(LONGEST_ARGUMENT);
        while !self.lower.is_char_boundary(from) {
            from += 1;
        }
        let word = self.lower[from..self.at].rsplit(char::is_whitespace).next();
        word.is_some_and(|word| {
            let word = word.rsplit(['[', ',', '"', '\'']).next();
            word.is_some_and(|word| word.starts_with("--"))
        })
    }
}

/// What tells one secret from its like: `TOKEN_PROD`, `PASSWORD_1`, `SECRET_KEY_BASE`.
const SUFFIXES: [&str; 12] = [
    "base", "prod", "staging", "dev", "test", "ro", "rw", "v1", "v2", "v3", "old", "new",
];

/// `name` behind the suffixes that it begins with; each is a word of its own.
fn without_suffixes(name: &str) -> &str {
    let Some(word) = name.strip_prefix(['_', '-']) else {
        return name;
    };
    let end = word.find(|c: char| !c.is_ascii_alphanumeric());
    let (word, rest) = word.split_at(end.unwrap_or(word.len()));
    let number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match number || SUFFIXES.contains(&word) {
        true => rest,
        false => name,
    }
}

/// Up to the bracket that closes the one in front of `inside`, or the end.
fn inside_length(inside: &str) -> usize {
    closing(inside, 1).unwrap_or(inside.len())
}

#[cfg(test)]
mod tests {
    use super::mask_key_values;

    #[test]
    fn each_of_many_secrets_is_masked() {
        let masked = mask_key_values(&"password=x token: 'y' ".repeat(300));
        assert_eq!(masked, "password=*** token: *** ".repeat(300));
    }
}
