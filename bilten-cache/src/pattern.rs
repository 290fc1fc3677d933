use std::fmt;
use std::sync::Arc;

use crate::Error;
use crate::key;

/// The longest pattern, in bytes.
const LIMIT: usize = 1024;

/// A set of keys, over all regions: `events:list:*`.
///
/// A key is written `region:key`, so `Pattern::glob("event:4*")` takes the keys of the region
/// `event` that begin with `4`. `*` stands for any run of characters (also none, also `:`), `?` for
/// one, `[a-z]` and `[!a-z]` for one of a set, and `\` takes the next character as it is.
///
/// Text that comes from outside belongs in [`Pattern::prefix`], where nothing is special.
///
/// ```
/// use bilten_cache::Pattern;
///
/// let lists = Pattern::glob("events:list:*")?;
/// assert!(lists.matches("events:list:berlin:1"));
/// assert!(!lists.matches("events:detail:1"));
///
/// let tenant = Pattern::prefix("events:list:*"); // the star is only a star here
/// assert!(!tenant.matches("events:list:berlin:1"));
/// # Ok::<(), bilten_cache::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    source: Arc<str>,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Everything below this encoded text.
    Prefix(Arc<str>),
    Glob {
        tokens: Arc<[Token]>,
        literal: Arc<str>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Run,
    One,
    Is(char),
    Set {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

impl Pattern {
    /// Reads a glob.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] when it is empty, longer than 1,024 bytes, ends in `\`, or has a `[`
    /// that is not closed.
    pub fn glob(text: &str) -> Result<Self, Error> {
        let fail = |problem, remedy| Error::Pattern {
            pattern: shortened(text),
            problem,
            remedy,
        };
        if text.is_empty() {
            return Err(fail("it is empty", "write `*` for everything"));
        }
        if text.len() > LIMIT {
            return Err(fail(
                "it is longer than 1,024 bytes",
                "use a shorter prefix",
            ));
        }
        let tokens = parse(text).map_err(|(problem, remedy)| fail(problem, remedy))?;
        let literal = literal_prefix(&tokens);
        let shape = if tokens
            .iter()
            .filter(|t| **t != Token::Run)
            .all(|t| matches!(t, Token::Is(_)))
            && tokens
                .iter()
                .position(|t| *t == Token::Run)
                .is_some_and(|at| at + 1 == tokens.len())
        {
            Shape::Prefix(literal)
        } else {
            Shape::Glob {
                tokens: tokens.into(),
                literal,
            }
        };
        Ok(Self {
            source: text.into(),
            shape,
        })
    }

    /// Every key that begins with `text`, taken literally.
    #[must_use]
    pub fn prefix(text: &str) -> Self {
        let mut encoded = String::with_capacity(text.len());
        key::escape(text, false, &mut encoded);
        Self {
            source: text.into(),
            shape: Shape::Prefix(encoded.into()),
        }
    }

    /// Whether the pattern takes a key, in the form that keys have in the cache: [`key::encode`] writes it, and `region:key` has it when
    /// nothing in it needs to be escaped.
    ///
    /// ```
    /// use bilten_cache::{Pattern, key};
    ///
    /// let streets = Pattern::prefix("street:Main St");
    /// assert!(streets.matches(&key::encode("street", "Main St 4")));
    /// assert!(!streets.matches("street:Main St 4"), "no key has a blank");
    /// ```
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        match &self.shape {
            Shape::Prefix(prefix) => key.starts_with(&**prefix),
            Shape::Glob { tokens, .. } => glob_matches(tokens, key),
        }
    }

    /// A prefix that is already in the form keys have.
    pub(crate) fn from_encoded_prefix(prefix: &str) -> Self {
        Self {
            source: prefix.into(),
            shape: Shape::Prefix(prefix.into()),
        }
    }

    /// The prefix, when the pattern is one.
    pub(crate) fn as_prefix(&self) -> Option<&Arc<str>> {
        match &self.shape {
            Shape::Prefix(prefix) => Some(prefix),
            Shape::Glob { .. } => None,
        }
    }

    /// The text that every matching key begins with; at least as wide as the pattern.
    pub(crate) fn literal(&self) -> &Arc<str> {
        match &self.shape {
            Shape::Prefix(prefix) => prefix,
            Shape::Glob { literal, .. } => literal,
        }
    }

    /// Whether no entry has a key that is long enough for it.
    pub(crate) fn takes_nothing(&self) -> bool {
        self.literal().len() > key::MAX_KEY_BYTES
    }

    pub(crate) fn source(&self) -> &Arc<str> {
        &self.source
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

type Fault = (&'static str, &'static str);

fn parse(text: &str) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let token = match c {
            '*' if tokens.last() == Some(&Token::Run) => continue,
            '*' => Token::Run,
            '?' => Token::One,
            '[' => parse_set(&mut chars)?,
            '\\' => Token::Is(
                chars
                    .next()
                    .ok_or(("it ends in `\\`", "write `\\\\` for the character itself"))?,
            ),
            c => Token::Is(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

fn parse_set(chars: &mut std::str::Chars<'_>) -> Result<Token, Fault> {
    const OPEN: Fault = (
        "it has a `[` that is not closed",
        "close it with `]`, or write `\\[` for the character",
    );
    let mut members: Vec<char> = Vec::new();
    let mut ranges = Vec::new();
    let negated = matches!(chars.clone().next(), Some('!' | '^'));
    if negated {
        chars.next();
    }
    loop {
        let c = match chars.next().ok_or(OPEN)? {
            ']' => break,
            '\\' => chars.next().ok_or(OPEN)?,
            c => c,
        };
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|end| end != ']') {
            chars.next();
            let end = chars.next().ok_or(OPEN)?;
            ranges.push((c.min(end), c.max(end)));
        } else {
            members.push(c);
        }
    }
    ranges.extend(members.into_iter().map(|c| (c, c)));
    Ok(Token::Set { ranges, negated })
}

fn literal_prefix(tokens: &[Token]) -> Arc<str> {
    let text: String = tokens
        .iter()
        .map_while(|t| if let Token::Is(c) = t { Some(*c) } else { None })
        .collect();
    let mut encoded = String::with_capacity(text.len());
    key::escape(&text, false, &mut encoded);
    encoded.into()
}

/// Greedy with one restart point, so the work is at most pattern times key and never exponential.
fn glob_matches(tokens: &[Token], key: &str) -> bool {
    let (mut at, mut rest) = (0, key);
    let mut restart: Option<(usize, &str)> = None;
    loop {
        if tokens.get(at) == Some(&Token::Run) {
            at += 1;
            restart = Some((at, rest));
            continue;
        }
        let unit = key::next_unit(rest);
        match (tokens.get(at), unit) {
            (None, None) => return true,
            (Some(token), Some((unit, tail))) if token_takes(token, unit) => {
                at += 1;
                rest = tail;
            }
            _ => {
                let Some((back, from)) = restart else {
                    return false;
                };
                let Some((_, tail)) = key::next_unit(from) else {
                    return false;
                };
                restart = Some((back, tail));
                at = back;
                rest = tail;
            }
        }
    }
}

fn token_takes(token: &Token, unit: Option<char>) -> bool {
    match (token, unit) {
        (Token::One, _) => true,
        (Token::Is(c), Some(unit)) => *c == unit,
        (Token::Set { ranges, negated }, Some(unit)) => {
            ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&unit))
                != *negated
        }
        (Token::Set { negated, .. }, None) => *negated,
        (Token::Run | Token::Is(_), _) => false,
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= 80 {
        text.to_owned()
    } else {
        format!("{}...", text.chars().take(40).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_what_they_say() {
        for (pattern, key, expected) in [
            ("*", "", true),
            ("events:list:*", "events:list:", true),
            ("events:list:*", "events:lis", false),
            ("events:*:1", "events:list:a:1", true),
            ("events:*:1", "events:list:a:2", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[b-d]c", "acc", true),
            ("a[!b-d]c", "acc", false),
            ("a[^b-d]c", "axc", true),
            ("a[\\]]c", "a%5Dc", true),
            ("a[\\]]c", "abc", false),
            ("a\\*", "a%2A", true),
            ("a\\*", "ab", false),
            ("a?", "a%2A", true),
            ("a b*", "a%20bc", true),
            ("ünï*", "ünïx", true),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(
                Pattern::glob(pattern).unwrap().matches(key),
                expected,
                "{pattern} on {key}"
            );
        }
    }

    #[test]
    fn a_trailing_star_is_a_prefix_and_nothing_else_is() {
        assert_eq!(
            &**Pattern::glob("events:list:*").unwrap().as_prefix().unwrap(),
            "events:list:"
        );
        assert_eq!(
            &**Pattern::glob("a b*").unwrap().as_prefix().unwrap(),
            "a%20b"
        );
        for glob in ["a*b", "a?*", "[a]*", "a", "*a*"] {
            assert!(Pattern::glob(glob).unwrap().as_prefix().is_none(), "{glob}");
        }
        assert_eq!(&**Pattern::glob("ab?c*").unwrap().literal(), "ab");
    }

    #[test]
    fn text_from_outside_matches_only_itself() {
        for text in ["tenant:*", "tenant:[a]", "tenant:?", "tenant:\\"] {
            let pattern = Pattern::prefix(text);
            assert!(!pattern.matches("tenant:a"), "{text}");
            let mut own = String::new();
            key::escape(text, false, &mut own);
            assert!(pattern.matches(&own), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_does_not_parse_says_what_to_write() {
        for (pattern, remedy) in [
            ("", "`*`"),
            ("a\\", "`\\\\`"),
            ("a[b", "`]`"),
            ("a[b-", "`]`"),
        ] {
            let message = Pattern::glob(pattern).unwrap_err().to_string();
            assert!(message.contains(remedy), "{message}");
        }
        assert!(
            Pattern::glob(&"x".repeat(2000))
                .unwrap_err()
                .to_string()
                .len()
                < 200
        );
    }

    #[test]
    fn many_stars_do_not_explode() {
        let pattern = Pattern::glob(&"a*".repeat(200)).unwrap();
        assert!(
            !Pattern::glob(&format!("{}b", "a*".repeat(200)))
                .unwrap()
                .matches(&"a".repeat(1000))
        );
        assert!(pattern.matches(&"a".repeat(1000)));
    }
}
