//! A lexer that knows just enough SQL to see past comments, strings and quoted names, without allocating.

use sea_orm::DbBackend;

/// A piece of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or an unquoted name.
    Word(&'a str),
    /// A quoted name, without its quotes.
    Quoted(&'a str),
    /// A string, a number or a parameter.
    Literal,
    /// Any other character.
    Punct(u8),
    /// Text that may mean different things to different servers, or that never ends.
    Unknown,
    /// The end of the text.
    End,
}

pub(super) struct Lexer<'a> {
    backend: DbBackend,
    sql: &'a str,
    at: usize,
    depth: i32,
    unbalanced: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(backend: DbBackend, sql: &'a str) -> Self {
        Self {
            backend,
            sql,
            at: 0,
            depth: 0,
            unbalanced: false,
        }
    }

    /// Whether every bracket read so far has been closed.
    pub(super) fn is_balanced(&self) -> bool {
        self.depth == 0 && !self.unbalanced
    }

    pub(super) fn next_token(&mut self) -> Token<'a> {
        if self.skip_blanks_and_comments().is_none() {
            self.at = self.sql.len();
            return Token::Unknown;
        }
        let Some(first) = self.peek(0) else {
            return Token::End;
        };
        match first {
            0 => Token::Unknown,
            b'\'' => self.string(b'\'', false),
            b'"' if self.mysql() => self.string(b'"', false),
            b'"' => self.quoted(b'"'),
            b'`' if !self.postgres() => self.quoted(b'`'),
            b'[' if self.sqlite() => self.quoted(b']'),
            b'$' if self.postgres() => self.dollar(),
            // User variables live in one session of one server.
            b'@' if self.mysql() => Token::Unknown,
            b'0'..=b'9' => self.number(),
            byte if is_word(byte) => self.word(),
            byte => self.punct(byte),
        }
    }

    fn postgres(&self) -> bool {
        self.backend == DbBackend::Postgres
    }

    fn mysql(&self) -> bool {
        self.backend == DbBackend::MySql
    }

    fn sqlite(&self) -> bool {
        self.backend == DbBackend::Sqlite
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.as_bytes().get(self.at + ahead).copied()
    }

    /// `None` when a comment never ends or would be executed.
    fn skip_blanks_and_comments(&mut self) -> Option<()> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) if self.dashes_comment() => self.skip_line()?,
                (Some(b'#'), _) if self.mysql() => self.skip_line()?,
                (Some(b'/'), Some(b'*')) => self.skip_block()?,
                _ => return Some(()),
            }
        }
    }

    /// MySQL wants a blank after `--`; elsewhere two dashes are enough.
    fn dashes_comment(&self) -> bool {
        !self.mysql()
            || self
                .peek(2)
                .is_none_or(|b| b.is_ascii_whitespace() || b.is_ascii_control())
    }

    /// `None` where servers do not agree about its end: PostgreSQL ends it at `\r` too, the others go on to `\n`.
    fn skip_line(&mut self) -> Option<()> {
        let rest = &self.sql.as_bytes()[self.at..];
        let line = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
        let end = line.unwrap_or(rest.len());
        if !self.postgres() && rest.get(end) == Some(&b'\r') && rest.get(end + 1) != Some(&b'\n') {
            return None;
        }
        self.at += end;
        Some(())
    }

    fn skip_block(&mut self) -> Option<()> {
        self.at += 2;
        // `/*! .. */` and `/*M! .. */` are executed by MySQL and MariaDB.
        let is_executed = matches!(
            (self.peek(0), self.peek(1)),
            (Some(b'!'), _) | (Some(b'M'), Some(b'!'))
        );
        if self.mysql() && is_executed {
            return None;
        }
        let mut depth = 1;
        while depth > 0 {
            match (self.peek(0)?, self.peek(1)) {
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                }
                (b'/', Some(b'*')) if self.postgres() => {
                    depth += 1;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        Some(())
    }

    /// A string up to `quote`; a doubled quote stays inside.
    fn string(&mut self, quote: u8, escapes: bool) -> Token<'a> {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            match byte {
                b'\\' if escapes => self.at += 1,
                // Whether `\'` ends a string depends on a setting of the server.
                b'\\' if !self.sqlite() && self.backslash_run_meets(quote) => {
                    return Token::Unknown;
                }
                _ if byte == quote && self.peek(1) == Some(quote) => self.at += 1,
                _ if byte == quote => {
                    self.at += 1;
                    return Token::Literal;
                }
                _ => {}
            }
            self.at += 1;
        }
        Token::Unknown
    }

    fn backslash_run_meets(&self, quote: u8) -> bool {
        let rest = &self.sql.as_bytes()[self.at..];
        rest.iter().find(|b| **b != b'\\') == Some(&quote)
    }

    fn quoted(&mut self, close: u8) -> Token<'a> {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.peek(0) {
            if byte == close && close != b']' && self.peek(1) == Some(close) {
                self.at += 2;
                continue;
            }
            self.at += 1;
            if byte == close {
                return self
                    .sql
                    .get(start..self.at - 1)
                    .map_or(Token::Unknown, Token::Quoted);
            }
        }
        Token::Unknown
    }

    /// `$1`, or `$tag$ .. $tag$`.
    fn dollar(&mut self) -> Token<'a> {
        let rest = &self.sql[self.at..];
        if self.peek(1).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
            self.digits();
            return Token::Literal;
        }
        let tag = rest.as_bytes()[1..]
            .iter()
            .position(|b| *b == b'$' || !is_word(*b));
        let Some(tag) = tag.filter(|end| rest.as_bytes()[1 + end] == b'$') else {
            return Token::Unknown;
        };
        let fence = &rest[..tag + 2];
        let Some(end) = rest[fence.len()..].find(fence) else {
            self.at = self.sql.len();
            return Token::Unknown;
        };
        self.at += end + 2 * fence.len();
        Token::Literal
    }

    /// A point belongs to it, also at its end: what comes after `1.` is not the name of anything.
    fn number(&mut self) -> Token<'a> {
        self.digits();
        if self.peek(0) == Some(b'.') {
            self.at += 1;
            self.digits();
        }
        Token::Literal
    }

    fn digits(&mut self) {
        while self.peek(0).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn word(&mut self) -> Token<'a> {
        let rest = &self.sql.as_bytes()[self.at..];
        let end = rest
            .iter()
            .position(|b| !is_word(*b) && !b.is_ascii_digit() && *b != b'$');
        let word = &self.sql[self.at..self.at + end.unwrap_or(rest.len())];
        self.at += word.len();
        if self.postgres() && self.peek(0) == Some(b'\'') && word.eq_ignore_ascii_case("e") {
            return self.string(b'\'', true);
        }
        // `U&"\0061"`: a name or a text that is not what it looks like.
        let is_escaped = self.peek(0) == Some(b'&') && matches!(self.peek(1), Some(b'"' | b'\''));
        if self.postgres() && is_escaped && word.eq_ignore_ascii_case("u") {
            return Token::Unknown;
        }
        Token::Word(word)
    }

    fn punct(&mut self, byte: u8) -> Token<'a> {
        self.at += 1;
        match byte {
            b'(' => self.depth += 1,
            b')' => self.depth -= 1,
            _ => {}
        }
        self.unbalanced |= self.depth < 0;
        Token::Punct(byte)
    }
}

/// Names may hold any letter beyond ASCII.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}
