//! A statement's words, without what two runs of it differ in.

use super::work;

/// Words that are kept as they are; a name is found among them.
const KEPT: usize = 4096;
/// Words behind those that may still shrink: a list of rows and a list of values in its last row.
const OPEN: usize = 16;

/// The statement's words: values as `?`, lists of values as one, no comments, one spelling of keywords.
///
/// The first ones are kept, those behind them only as long as they may shrink.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: Vec<String>,
    /// What comes between the first words and the last ones.
    hash: Option<Fnv>,
}

/// FNV-1a with 64 bits, the words parted by a space: <http://www.isthe.com/chongo/tech/comp/fnv/>.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Fnv {
    const NEW: Self = Self(0xcbf2_9ce4_8422_2325);

    fn add(self, words: &[String]) -> Self {
        let bytes = words.iter().flat_map(|word| word.bytes().chain([b' ']));
        Self(bytes.fold(self.0, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

impl Words {
    pub(super) fn of(sql: &str) -> Self {
        let mut words = Self::default();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let (word, length) = next_word(rest, first);
            work::add(length);
            rest = rest.get(length..).unwrap_or_default();
            if let Some(word) = word {
                words.push(word);
            }
        }
        while words.words.last().is_some_and(|word| word == ";") {
            words.words.pop();
        }
        words
    }

    /// The first words of the statement: all of them, unless it is very long.
    pub(super) fn first(&self) -> &[String] {
        self.words.get(..KEPT).unwrap_or(&self.words)
    }

    /// The hash of all words.
    pub(super) fn hash(&self) -> u64 {
        let hash = match self.hash {
            Some(hash) => hash.add(self.words.get(KEPT..).unwrap_or_default()),
            None => Fnv::NEW.add(&self.words),
        };
        hash.0
    }

    /// Appends a word; `? , ?` shrinks to `?` and `( ? ) , ( ? )` to `( ? )`.
    fn push(&mut self, word: String) {
        self.words.push(word);
        for (list, kept) in [
            (&["?", ",", "?"][..], 1),
            (&["(", "?", ")", ",", "(", "?", ")"][..], 3),
        ] {
            let start = self.words.len().saturating_sub(list.len());
            let tail = self.words.get(start..).unwrap_or_default();
            if tail.iter().map(String::as_str).eq(list.iter().copied()) {
                self.words.truncate(start + kept);
            }
        }
        if self.words.len() > KEPT + 2 * OPEN {
            self.fold();
        }
    }

    /// Turns the words that are neither among the first nor among the last into their hash.
    fn fold(&mut self) {
        let last = self.words.len() - OPEN;
        let hash = self
            .hash
            .unwrap_or_else(|| Fnv::NEW.add(self.words.get(..KEPT).unwrap_or_default()));
        self.hash = Some(hash.add(self.words.get(KEPT..last).unwrap_or_default()));
        self.words.drain(KEPT..last);
    }
}

/// One word, or nothing for what does not count, and how many bytes it took. Never zero bytes.
fn next_word(rest: &str, first: char) -> (Option<String>, usize) {
    let one = first.len_utf8();
    let value = || Some("?".to_owned());
    match first {
        _ if first.is_whitespace() => (None, one),
        '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (None, block_comment(rest)),
        '\'' => (value(), quoted(rest, '\'')),
        '"' | '`' => {
            let length = quoted(rest, first);
            let name = rest.get(one..length - 1).unwrap_or_default();
            (Some(unquoted(format!("\"{name}\"").to_lowercase())), length)
        }
        '$' => dollar(rest),
        '?' => (
            value(),
            one + rest[one..].chars().take_while(char::is_ascii_digit).count(),
        ),
        _ if first.is_ascii_digit() => (
            value(),
            run(rest, |c| c.is_ascii_alphanumeric() || c == '.'),
        ),
        _ if first.is_alphabetic() || first == '_' => {
            let length = run(rest, |c| c.is_alphanumeric() || c == '_');
            (Some(rest[..length].to_lowercase()), length)
        }
        _ => (Some(first.to_string()), one),
    }
}

/// A quoted plain name is the same table as the unquoted one.
fn unquoted(name: String) -> String {
    let inner = name.trim_matches('"');
    if !inner.is_empty() && inner.chars().all(|c| c.is_alphanumeric() || c == '_') {
        inner.to_owned()
    } else {
        name
    }
}

/// `$1` is a placeholder, `$tag$ … $tag$` a text.
fn dollar(rest: &str) -> (Option<String>, usize) {
    let tag = 1 + run(&rest[1..], |c| c.is_alphanumeric() || c == '_');
    if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) && rest[tag..].starts_with('$') {
        let mark = &rest[..=tag];
        let end = rest[mark.len()..]
            .find(mark)
            .map_or(rest.len(), |at| at + 2 * mark.len());
        work::add(end);
        return (Some("?".to_owned()), end);
    }
    (Some("?".to_owned()), tag)
}

fn run(rest: &str, keep: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !keep(c)).unwrap_or(rest.len())
}

/// The length of a quoted text with its quotes; a doubled quote belongs to the text.
fn quoted(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    rest.len().max(2).min(rest.len())
}

/// The length of a block comment; PostgreSQL nests them.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(left) = rest.get(at..).filter(|left| !left.is_empty()) {
        match left {
            _ if left.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            _ if left.starts_with("*/") => (depth, at) = (depth.saturating_sub(1), at + 2),
            _ => at += left.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All words, without a bound.
    fn all(sql: &str) -> Vec<String> {
        let mut words = Words::default();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let (word, length) = next_word(rest, first);
            rest = &rest[length..];
            if let Some(word) = word {
                words.push(word);
                assert!(words.words.len() <= KEPT, "not for long texts");
            }
        }
        words.words
    }

    #[test]
    fn folding_changes_no_hash() {
        // Words that do not shrink, and behind them lists that do, wherever the fold falls.
        for extra in 0..3 * OPEN {
            let head = "a ".repeat(KEPT - OPEN + extra);
            for tail in [
                "(1, 2, 3), (4, 5), (6)",
                "in (1,2,3) x (1) , (2) , (3) y",
                "b",
            ] {
                let whole: Vec<String> = head
                    .split_whitespace()
                    .map(str::to_owned)
                    .chain(all(tail))
                    .collect();
                let sql = format!("{head}{tail}");
                assert_eq!(
                    Words::of(&sql).hash(),
                    Fnv::NEW.add(&whole).0,
                    "{extra} {tail}"
                );
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for part in ["(", "a ", "; ", "1 ", "(1,"] {
            let words = Words::of(&part.repeat(1 << 17));
            assert!(words.words.len() <= KEPT + 2 * OPEN, "{part}");
        }
    }
}
