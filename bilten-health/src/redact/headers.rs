//! Credentials in header lines and in commands that log in: pure.

use super::floor;
use super::prose::{is_said, says_there_is_none};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// Headers whose whole value is a secret.
const HEADERS: [&str; 2] = ["authorization:", "cookie:"];

/// Schemes that name one word, which is the secret.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// `Cookie: a=b; c=d` becomes `Cookie: ***`, up to the end of the line; `Authorization: Basic x` keeps its scheme.
pub(super) fn mask_headers(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut headers = Earliest::new(&lower, HEADERS);
    let mut out = String::with_capacity(text.len());
    let (mut at, mut line_end) = (0, 0);
    while let Some(end) = headers.end_of_next(at) {
        let rest = &lower[end..];
        let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let start = end + blank;
        if start >= line_end {
            let line = lower[start..].find(['\r', '\n']);
            line_end = line.map_or(lower.len(), |line| start + line);
        }
        let line = &lower[start..line_end];
        out.push_str(&text[at..start]);
        at = start;
        let scheme = SCHEMES.iter().find(|scheme| line.starts_with(**scheme));
        let quoted = line.starts_with(['"', '\'', '\\']);
        let is_cookie = lower[..end].ends_with("cookie:");
        // A quoted value is left to the keys, which know where it ends.
        if !quoted && !line.is_empty() && !is_a_message(line, is_cookie) {
            let kept = scheme.map_or(0, |scheme| scheme.len());
            let masked = match scheme {
                Some(_) => kept + word(&line[kept..]),
                None => line.len(),
            };
            out.push_str(&text[at..at + kept]);
            out.push_str("***");
            at += masked;
        }
    }
    out.push_str(&text[at..]);
    out
}

/// More of a line is not read to find that it is a message: many headers may stand on one.
const LONGEST_MESSAGE: usize = 256;

/// `not set`, `missing or malformed`; a cookie of several words has a `=`.
fn is_a_message(line: &str, is_cookie: bool) -> bool {
    let line = floor(line, LONGEST_MESSAGE);
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    let told = is_said(first) || is_cookie && words.next().is_some();
    says_there_is_none(line) || told && !line.contains('=')
}

/// `Bearer x` and `Basic x` become `Bearer ***` and `Basic ***`, wherever they stand.
pub(super) fn mask_schemes(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut schemes = Earliest::new(&lower, SCHEMES);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(start) = schemes.end_of_next(at) {
        let end = start + word(&lower[start..]);
        out.push_str(&text[at..start]);
        let value = &lower[start..end];
        let scheme = &text[at..start];
        // `a bearer token` and `Basic authentication` are English, `Bearer realm="x"` is asked for.
        let told = is_said(value) || ["token", "tokens", "realm="].contains(&value);
        let written_as_one = scheme.ends_with("Bearer ");
        let looks_like_one = value.contains(|c: char| c.is_ascii_digit() || c == '=')
            || value.len() >= 12 && !value.starts_with("auth");
        let masked = !value.is_empty() && !told && (written_as_one || looks_like_one);
        out.push_str(if masked { "***" } else { &text[start..end] });
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// A command and one or two words behind it, in quotes or not, as in a command line and in a list of words.
static AUTH: LazyLock<Regex> = pattern!(concat!(
    r#"(^|[^A-Za-z0-9])(AUTH2?["'`]?(?: *,)? *)"#,
    r#"("[^"\r\n]*"|'[^'\r\n]*'|`[^`\r\n]*`|[^\s"'`<>,;)}\]]+)"#,
    r#"((?: *,)? *(?:"[^"\r\n]*"|'[^'\r\n]*'|`[^`\r\n]*`|[^\s"'`<>,;)}\]]+))?"#
));

/// Redis' and SMTP's `AUTH user password` becomes `AUTH ***`.
pub(super) fn mask_auth_commands(text: &str) -> String {
    AUTH.replace_all(text, auth_command).into_owned()
}

fn auth_command(found: &Captures<'_>) -> String {
    let quoted = found[2].ends_with(['"', '\'', '`', ',', ' ']);
    match !quoted || is_said(&found[3]) {
        true => found[0].to_owned(),
        false => format!("{}{}***", &found[1], &found[2]),
    }
}

/// The same in a list of words, of which two may follow the command.
#[derive(Default)]
pub(super) struct Login(u8);

impl Login {
    /// Whether `word` is one of the two.
    pub(super) fn takes(&mut self, word: &str) -> bool {
        let takes = self.0 > 0 && !is_said(word);
        self.0 = match word {
            "AUTH" => 2,
            _ => self.0.saturating_sub(1),
        };
        takes
    }
}

/// Finds the earliest of some words again and again, and looks for each only once it has been passed.
struct Earliest<'text, const N: usize> {
    lower: &'text str,
    words: [&'static str; N],
    /// Where each of them stands next; the end of the text when nowhere.
    next: [usize; N],
}

impl<'text, const N: usize> Earliest<'text, N> {
    fn new(lower: &'text str, words: [&'static str; N]) -> Self {
        let next = words.map(|word| lower.find(word).unwrap_or(lower.len()));
        Self { lower, words, next }
    }

    /// Where the first of them ends that begins at `from` or later.
    fn end_of_next(&mut self, from: usize) -> Option<usize> {
        for (next, word) in self.next.iter_mut().zip(self.words) {
            if *next < from {
                let found = self.lower[from..].find(word);
                *next = found.map_or(self.lower.len(), |found| from + found);
            }
        }
        let found = self.next.iter().zip(self.words).min()?;
        (*found.0 < self.lower.len()).then(|| found.0 + found.1.len())
    }
}

/// How long the word is that `text` begins with.
fn word(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || "\"'`<>,;)}".contains(c))
        .unwrap_or(text.len())
}
