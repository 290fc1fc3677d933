//! Credentials in header lines and in commands that log in: pure.

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
        // A quoted value is left to the keys, which know where it ends.
        if !quoted && !line.is_empty() {
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
        // `a bearer token` and `Basic authentication` are English.
        let written_as_one = scheme.ends_with("Bearer ") && value != "token";
        let looks_like_one = value.contains(|c: char| c.is_ascii_digit() || c == '=')
            || value.len() >= 12 && !value.starts_with("auth");
        let masked = !value.is_empty() && (written_as_one || looks_like_one);
        out.push_str(if masked { "***" } else { &text[start..end] });
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// Redis' and SMTP's `AUTH user password` becomes `AUTH ***`.
pub(super) fn mask_auth_commands(text: &str) -> String {
    const COMMAND: &str = "AUTH ";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find(COMMAND) {
        let (before, after) = rest.split_at(found + COMMAND.len());
        out.push_str(before);
        rest = after;
        let first = word(rest);
        let inside = before[..found].ends_with(|c: char| c.is_alphanumeric());
        let english = ["failed", "command", "is", "was", "required", "error"];
        if inside || first == 0 || english.contains(&rest[..first].trim_end_matches(':')) {
            continue;
        }
        let second = rest[first..]
            .strip_prefix(' ')
            .map_or(0, |next| match word(next) {
                0 => 0,
                length => 1 + length,
            });
        out.push_str("***");
        rest = &rest[first + second..];
    }
    out.push_str(rest);
    out
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
