//! Finds what may write in a statement that looks like a read.

use sea_orm::DbBackend;

use super::lexer::{Lexer, Token};
use super::{asks_for_format, behind_format, harmless, is, is_any};

/// Whether a statement that looks like a read calls something that may do more: a function that is not known to be
/// harmless. What a view, an operator or a rule calls is not seen.
pub(crate) fn may_hide_a_write(backend: DbBackend, sql: &str) -> bool {
    let mut tokens = Lexer::new(backend, sql);
    let mut lists = Lists::default();
    let (mut before, mut now) = (Token::End, tokens.next_token());
    while !matches!(now, Token::End | Token::Unknown) {
        let mut next = tokens.next_token();
        if before == Token::End && is(now, "explain") && asks_for_format(backend, next) {
            next = behind_format(&mut tokens);
        }
        lists.see(before, now);
        if next == Token::Punct(b'(') && !lists.names() && calls_unknown(before, now) {
            return true;
        }
        (before, now) = (now, next);
    }
    now == Token::Unknown
}

fn calls_unknown(before: Token<'_>, name: Token<'_>) -> bool {
    match (before, name) {
        // Its options, or what it explains: nothing of that is run.
        (Token::End, Token::Word(word)) if is_any(word, &["explain"]) => false,
        // A type with a length, or a name for rows, with names for their columns.
        (Token::Word(word), Token::Word(_) | Token::Quoted(_)) if is_any(word, &["as"]) => false,
        (Token::Word(first), Token::Word(second)) if harmless::is_phrase(first, second) => false,
        // `match (..) against (..)`
        (Token::Punct(b')'), Token::Word(word)) if is_any(word, &["against"]) => false,
        (_, Token::Word(word)) => before == Token::Punct(b'.') || !harmless::is_harmless(word),
        (_, Token::Quoted(_)) => true,
        _ => false,
    }
}

/// Where the names of common table expressions stand, which may have names for their columns: between `WITH` and what it
/// is for.
#[derive(Default)]
struct Lists {
    depth: u32,
    /// One bit for each depth of brackets.
    open: u64,
}

impl Lists {
    fn see(&mut self, before: Token<'_>, now: Token<'_>) {
        match now {
            Token::Punct(b'(') => {
                self.depth += 1;
                self.close();
            }
            Token::Punct(b')') => {
                self.close();
                self.depth = self.depth.saturating_sub(1);
            }
            // Elsewhere it is part of a type, or of another clause.
            Token::Word(word) if is_any(word, &["with"]) && begins_query(before) => {
                self.open |= self.bit();
            }
            Token::Word(word) if is_any(word, &["select", "values", "table"]) => self.close(),
            _ => {}
        }
    }

    fn names(&self) -> bool {
        self.open & self.bit() != 0
    }

    fn close(&mut self) {
        self.open &= !self.bit();
    }

    /// None beyond a depth that nobody writes.
    fn bit(&self) -> u64 {
        1_u64.checked_shl(self.depth).unwrap_or(0)
    }
}

fn begins_query(before: Token<'_>) -> bool {
    match before {
        Token::End | Token::Punct(b'(') => true,
        Token::Word(word) => is_any(word, &["explain", "plan"]),
        _ => false,
    }
}
