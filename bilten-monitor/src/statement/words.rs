//! A statement's words, without what two runs of it differ in.

use super::groups::Groups;
use super::token::{Quotes, next_word};
use super::work;

/// Words that are kept as they are; a name is found among them.
pub(super) const KEPT: usize = 4096;
/// Words behind those that may still shrink: a list of rows and a list of values in its last row.
const OPEN: usize = 16;
/// A longer item of a list is not compared with the one before it.
const LONGEST: usize = 512;

/// The statement's words: values as `?`, lists of values as one, no comments, one spelling of keywords.
///
/// The first ones are kept, those behind them only as long as they may shrink.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: Vec<String>,
    groups: Groups,
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
    pub(super) fn of(sql: &str, quotes: Quotes) -> Self {
        let mut words = Self::default();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let (word, length) = next_word(rest, first, quotes);
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

    /// Appends a word; an item of a list that is the same as the one before it goes.
    fn push(&mut self, word: String) {
        match &*word {
            "(" | "[" => {
                self.groups.enter(self.words.len());
                self.words.push(word);
            }
            "]" => {
                self.shrink_item();
                self.words.push(word);
                self.groups.leave();
            }
            ")" => {
                self.shrink_item();
                self.words.push(word);
                self.close();
            }
            "," => {
                self.shrink_item();
                self.words.push(word);
                self.groups.begin_item(self.words.len());
            }
            "null" | "default" | "true" | "false" if self.begins_item(self.words.len()) => {
                self.words.push("?".to_owned());
            }
            _ => self.words.push(word),
        }
        self.shrink_value();
        if self.words.len() > KEPT + 2 * OPEN {
            self.fold();
        }
    }

    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    /// Whether nothing of an item stands before this place.
    fn begins_item(&self, at: usize) -> bool {
        let before = at.checked_sub(1).filter(|at| self.is_whole_from(*at));
        before.is_some_and(|at| matches!(self.word(at), "(" | "," | "["))
    }

    /// Whether the words from here on are those that stood there: none between them was folded.
    fn is_whole_from(&self, at: usize) -> bool {
        self.hash.is_none() || at >= KEPT
    }

    /// Drops the last item of the list in these parentheses if the one before it is the same.
    fn shrink_item(&mut self) {
        let same = self.groups.item_inside().and_then(|item| {
            let before = self.same_before(item)?;
            self.begins_item(before).then_some((item, before))
        });
        self.keep_the_first(same);
    }

    /// Ends a group: a row that is the same as the row before it goes, and a cast becomes the value.
    fn close(&mut self) {
        let Some(start) = self.groups.leave() else {
            return;
        };
        if self.is_cast(start) {
            self.words.truncate(start - 1);
            self.words.push("?".to_owned());
            return;
        }
        let same = self.groups.item().and_then(|item| {
            let is_row = item == start;
            let is_call = start.checked_sub(1) == Some(item);
            let before = (is_row || is_call).then(|| self.same_before(item))??;
            let is_item = |at| self.begins_item(at) || at > 0 && self.word(at - 1) == "values";
            is_item(before).then_some((item, before))
        });
        self.keep_the_first(same);
    }

    /// Whether the group that begins here makes `CAST(? AS type)` an item of a list.
    fn is_cast(&self, start: usize) -> bool {
        start > 1
            && self.begins_item(start - 1)
            && [(start - 1, "cast"), (start + 1, "?"), (start + 2, "as")]
                .iter()
                .all(|(at, word)| self.word(*at) == *word)
    }

    fn keep_the_first(&mut self, same: Option<(usize, usize)>) {
        if let Some((item, before)) = same {
            self.words.truncate(item - 1);
            self.groups.begin_item(before);
        }
    }

    /// Where the words before the comma begin that are the same as those from here on.
    fn same_before(&self, item: usize) -> Option<usize> {
        let same = self.words.get(item..)?;
        let comma = item.checked_sub(1).filter(|at| self.word(*at) == ",")?;
        let before = comma.checked_sub(same.len())?;
        if same.is_empty() || same.len() > LONGEST || !self.is_whole_from(before) {
            return None;
        }
        work::add(same.len());
        (self.words.get(before..comma)? == same).then_some(before)
    }

    /// Outside parentheses `? , ?` becomes `?`, and so does everywhere a value with its sign or its type at the beginning of an item.
    fn shrink_value(&mut self) {
        let end = self.words.len();
        let from = |many: usize| end.checked_sub(many).filter(|at| self.is_whole_from(*at));
        let tail = |many: usize| from(many).map_or([].as_slice(), |at| &self.words[at..]);
        let begins = |many: usize| end > many && self.begins_item(end - many);
        if let [sign, value] = tail(2)
            && matches!(&**sign, "-" | "+")
            && value == "?"
            && begins(2)
        {
            self.words.remove(end - 2);
        } else if let Some(many) = (2..=4).find(|many| is_typed(tail(*many)) && begins(*many)) {
            self.words.truncate(end - many + 1);
        }
        // In parentheses an item is compared when it ends: it may be an expression that only begins with a value.
        let start = self.words.len().checked_sub(3);
        let start = start.filter(|at| self.is_whole_from(*at) && !self.groups.is_inside());
        if let Some(start) = start
            && let [one, comma, other] = &self.words[start..]
            && (&**one, &**comma, &**other) == ("?", ",", "?")
        {
            self.words.truncate(start + 1);
            self.groups.begin_item(start);
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
        self.groups.forget(KEPT..last);
    }
}

/// Whether these words are a value and a part of its type, however long the type's name is.
fn is_typed(words: &[String]) -> bool {
    let [value, rest @ ..] = words else {
        return false;
    };
    let is_name =
        |word: &str| word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"');
    let is_type = match rest {
        [part] => matches!(&**part, "precision" | "varying"),
        [open, close] if open == "[" => close == "]",
        [dot, name] => dot == "." && is_name(name),
        [one, other, last] => match (&**one, &**other, &**last) {
            (":", ":", name) => is_name(name),
            ("(", "?", ")") | ("with" | "without", "time", "zone") => true,
            _ => false,
        },
        _ => false,
    };
    value == "?" && is_type
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All words, without a bound.
    fn all(sql: &str) -> Vec<String> {
        let quotes = Quotes::of(sql);
        let mut words = Words::default();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let (word, length) = next_word(rest, first, quotes);
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
                "cast(1 as x), (cast(2 as x), cast(3 as x)), (4)",
                "f(-1), f(null), f(+2::x[])",
                "in (1+1, 2+2, 3+3), (1+1), array[1, 2], array[3]",
            ] {
                let whole: Vec<String> = head
                    .split_whitespace()
                    .map(str::to_owned)
                    .chain(all(tail))
                    .collect();
                let sql = format!("{head}{tail}");
                assert_eq!(
                    Words::of(&sql, Quotes::of(&sql)).hash(),
                    Fnv::NEW.add(&whole).0,
                    "{extra} {tail}"
                );
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for part in ["(", "a ", "; ", "1 ", "(1,", "a(", ",(", "f(1),"] {
            let sql = part.repeat(1 << 14);
            let words = Words::of(&sql, Quotes::of(&sql));
            assert!(words.words.len() <= KEPT + 2 * OPEN, "{part}");
        }
    }
}
