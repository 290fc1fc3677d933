//! Values that stand behind the name of a secret: pure.

use super::floor;
use super::names::{FORMS, NOUNS, begins_a_pass, begins_a_word};
use super::prose::{is_a_placeholder, is_a_sentence, says_there_is_none};
use super::values::{Open, bare, closing, value_length};
use regex::Regex;
use std::sync::LazyLock;

/// Keys whose value follows at once, as in SQL, or that are masked as headers when it is not quoted.
const QUOTED_KEYS: [&str; 4] = ["identified by", "_password by", "authorization", "cookie"];

/// All keys in a text in lower case; of two that begin at the same place, the longer one.
static KEYS: LazyLock<Regex> = LazyLock::new(|| {
    let mut keys: Vec<_> = NOUNS
        .iter()
        .map(|noun| noun.replace(' ', "[ _-]?"))
        .collect();
    keys.extend(QUOTED_KEYS.map(str::to_owned));
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    Regex::new(&keys.join("|")).expect("the pattern is constant")
});

/// More letters than this are no name of a type.
const LONGEST_NAME: usize = 128;

/// The longest word that is looked back at for the `--` of an argument.
const LONGEST_ARGUMENT: usize = 128;

/// More of a value is not read to find that it is a message.
const LONGEST_MESSAGE: usize = 64;

/// `password=x`, `token: x`, `--password x`, `Secret("x")`, `IDENTIFIED BY 'x'` and the like become `password=***`.
pub(super) fn mask_key_values(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let (mut done, mut open, mut from) = (0, Open::default(), 0);
    while let Some(found) = KEYS.find_at(&lower, from) {
        let (at, key) = (found.start(), found.as_str());
        // Its end may be another key: `session idpassword`.
        from = at + 1;
        if key == "pass" && !begins_a_word(text, at) && !is_compound(text, at) {
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
            // Within a value that is masked there is nothing to look for.
            (done, from) = (end, end);
        }
    }
    out.push_str(&text[done..]);
    out
}

/// `dbpass=` and `"smtppass":`, where a sign has to follow at once.
fn is_compound(text: &str, at: usize) -> bool {
    let behind = text[at + "pass".len()..].trim_start_matches(['"', '\'', '\\']);
    behind.starts_with(['=', ':']) && begins_a_pass(text, at)
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
        if let Some(inside) = self.wrapped(behind) {
            return self.range(inside, inside_length(inside));
        }
        let plural = behind.starts_with('s');
        let name_end =
            behind[usize::from(plural)..].trim_start_matches(|c: char| c.is_ascii_digit());
        let name_end = without_suffixes(name_end);
        let closed = name_end.trim_start_matches(['"', '\'', '`', '\\', ']']);
        let rest = closed.trim_start();
        let signed = rest.trim_start_matches([':', '=']);
        if signed.len() < rest.len() {
            let value = signed.strip_prefix('>').unwrap_or(signed).trim_start();
            return self.behind_a_sign(value, rest, plural, open);
        }
        let value = match self.is_argument() {
            true => argument(closed)?,
            // The next column.
            false if closed.starts_with('\t') => return self.range(rest, bare(rest, ' ', "")),
            false => self.not_a_thing(in_quotes(rest, closed, name_end)?)?,
        };
        let kept = self.counts(value, plural) || !is_quoted(value) && self.wants_quotes();
        let length = value_length(value, ' ', open.closers());
        (!kept).then(|| self.range(value, length))?
    }

    /// `Unexpected token '<'`, and `secret "db" not found`, which is a name in Kubernetes.
    fn not_a_thing(&self, value: &'text str) -> Option<&'text str> {
        let told = self.key == "token" && self.lower[..self.at].trim_end().ends_with("expected");
        let of_a_thing = || {
            let name = floor(value, LONGEST_MESSAGE);
            let behind = value[value_length(name, ' ', "")..].trim_start();
            let fates = ["not found", "is forbidden", "already exists"];
            fates.iter().any(|fate| behind.starts_with(fate))
        };
        (!(told || self.key == "secret" && of_a_thing())).then_some(value)
    }

    /// The same where `rest` begins with `=`, `: ` and the like, and `value` stands behind it.
    fn behind_a_sign(
        &self,
        value: &'text str,
        rest: &str,
        plural: bool,
        open: &Open,
    ) -> Option<(usize, usize)> {
        let sign = rest.chars().next()?;
        let quoted = is_quoted(value);
        if self.counts(value, plural) || !quoted && self.wants_quotes() {
            return None;
        }
        // As much as a message takes: a value without an end may stand behind each of many keys.
        let near = floor(value, LONGEST_MESSAGE);
        let said = &near[..value_length(near, sign, open.closers())];
        let counted = || is_a_placeholder(near) || self.is_a_number(near);
        if !quoted && (self.is_a_message(said) || counted()) || self.is_syntax(said) {
            return None;
        }
        self.range(value, value_length(value, sign, open.closers()))
    }

    /// `tokens: 3 left`.
    fn counts(&self, value: &str, plural: bool) -> bool {
        let first = value.split(|c: char| !c.is_alphanumeric()).next();
        let first = first.unwrap_or_default();
        plural && !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn wants_quotes(&self) -> bool {
        QUOTED_KEYS.contains(&self.key)
    }

    /// `password: not set`; `using password: YES`, which MySQL says of each login that fails; `private key: No such file`, as few
    /// write names of two words in front of a passphrase.
    fn is_a_message(&self, said: &str) -> bool {
        let by_mysql = || {
            let first = said.split(|c: char| !c.is_alphanumeric()).next();
            self.lower[..self.at].ends_with("using ") && matches!(first, Some("yes" | "no"))
        };
        says_there_is_none(said) || by_mysql() || self.key.contains(' ') && is_a_sentence(said)
    }

    /// `pass: 12, fail: 3` and `pageToken=2`.
    fn is_a_number(&self, value: &str) -> bool {
        let rest = value.trim_start_matches(|c: char| c.is_ascii_digit());
        let before = self.lower[..self.at].trim_end_matches(['_', '-']);
        let page = self.key == "token" && before.ends_with("page");
        let ends = rest.is_empty() || rest.starts_with(['&', ' ', ',', ')', '"', '\'']);
        let failed = || rest.trim_start_matches([',', ';', ' ']).starts_with("fail");
        rest.len() < value.len() && ends && (page || self.key == "pass" && failed())
    }

    /// `unexpected token: }`, of a parser.
    fn is_syntax(&self, said: &str) -> bool {
        let before = self.lower[..self.at].trim_end();
        self.key == "token"
            && (before.ends_with("expected") || !said.contains(|c: char| c.is_alphanumeric()))
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

/// An argument's value is the next one.
fn argument(closed: &str) -> Option<&str> {
    let value = closed.trim_start_matches([',', ' ', '\t', '\n']);
    (value.len() < closed.len()).then_some(value)
}

/// SQL has no sign, but quotes; English has neither.
fn in_quotes<'text>(rest: &'text str, closed: &str, name_end: &str) -> Option<&'text str> {
    let apart = rest.len() < closed.len() && closed.len() == name_end.len();
    (apart && rest.starts_with(['\'', '"'])).then_some(rest)
}

fn is_quoted(value: &str) -> bool {
    value.starts_with(['"', '\'', '\\', '['])
}

/// What tells one secret from its like: `TOKEN_PROD`, `PASSWORD_1`, `SECRET_KEY_BASE`.
const SUFFIXES: [&str; 12] = [
    "base", "prod", "staging", "dev", "test", "ro", "rw", "v1", "v2", "v3", "old", "new",
];

/// `name` behind the suffix that it begins with, which is a word of its own: `_prod`, `-1`, `Hash`.
fn without_suffixes(name: &str) -> &str {
    let word = name.strip_prefix(['_', '-']).unwrap_or(name);
    let apart = word.len() < name.len();
    let end = word.find(|c: char| !c.is_ascii_alphanumeric());
    let (word, rest) = word.split_at(end.unwrap_or(word.len()));
    let number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    match FORMS.contains(&word) || apart && (number || SUFFIXES.contains(&word)) {
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
