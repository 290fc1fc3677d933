//! Decides from the SQL text alone whether a statement only reads.
//!
//! The rule is fail-safe: whatever is not proven to be a read goes to the primary. A statement is a read when it begins with
//! `SELECT`, `VALUES`, `TABLE` or `WITH`, is a single statement, takes no lock, stores nothing (`INTO`), contains no
//! data-modifying keyword and calls no function that a replica would answer wrongly or refuse (advisory locks, sequences,
//! session settings). Functions written by users can still hide a write; a read-only replica refuses those before any
//! effect, and the cluster then runs them on the primary and remembers.

mod fingerprint;
mod functions;
mod harmless;
mod hidden;
mod lexer;

use sea_orm::DbBackend;

pub(crate) use fingerprint::fingerprint;
pub(crate) use hidden::may_hide_a_write;
use lexer::{Lexer, Token};

/// What a statement needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a statement reads or it does not")]
pub enum Access {
    /// Proven to read only: any replica may answer it.
    Read,
    /// Writes, locks, or is not understood: the primary must run it.
    Write,
}

/// Tells whether `sql` only reads.
///
/// Does not allocate; costs some nanoseconds per byte of SQL. Unknown SQL, a second statement, an unfinished string or
/// comment, and a NUL byte are all [`Access::Write`].
///
/// ```
/// use bilten_db::access::{Access, classify};
/// use bilten_db::sea_orm::DatabaseBackend::Postgres;
///
/// assert_eq!(classify(Postgres, "SELECT * FROM event"), Access::Read);
/// assert_eq!(classify(Postgres, "SELECT * FROM event FOR UPDATE"), Access::Write);
/// assert_eq!(classify(Postgres, "SELECT 'for update; delete'"), Access::Read);
/// assert_eq!(classify(Postgres, "WITH x AS (DELETE FROM event RETURNING id) SELECT * FROM x"), Access::Write);
/// ```
#[must_use]
pub fn classify(backend: DbBackend, sql: &str) -> Access {
    classify_denying(backend, sql, &[])
}

/// As [`classify`], and a call of one of the `denied` functions (lower case) makes it a write too.
pub(crate) fn classify_denying(backend: DbBackend, sql: &str, denied: &[Box<str>]) -> Access {
    match reads(backend, sql, denied) {
        Some(()) => Access::Read,
        None => Access::Write,
    }
}

/// `Some` when the whole text was understood and only reads.
fn reads(backend: DbBackend, sql: &str, denied: &[Box<str>]) -> Option<()> {
    // In a string or a comment too: a server's own text ends there.
    if sql.as_bytes().contains(&0) {
        return None;
    }
    let mut tokens = Lexer::new(backend, sql);
    let mut now = head(backend, &mut tokens)?;
    let mut before = Token::End;
    loop {
        let next = tokens.next_token();
        match now {
            Token::End => break,
            Token::Unknown => return None,
            Token::Punct(b';') => return only_semicolons(next, &mut tokens),
            Token::Word(word) if before != Token::Punct(b'.') && writes(word, next) => return None,
            Token::Word(name) | Token::Quoted(name)
                if next == Token::Punct(b'(') && functions::is_denied(backend, name, denied) =>
            {
                return None;
            }
            Token::Word(_) | Token::Quoted(_) | Token::Punct(_) | Token::Literal => {}
        }
        (before, now) = (now, next);
    }
    tokens.is_balanced().then_some(())
}

/// Whether this is one statement, with nothing but semicolons behind it; not so where the text is not understood.
pub(crate) fn is_alone(backend: DbBackend, sql: &str) -> bool {
    let mut tokens = Lexer::new(backend, sql);
    let mut now = tokens.next_token();
    while !matches!(now, Token::End | Token::Unknown | Token::Punct(b';')) {
        now = tokens.next_token();
    }
    now != Token::Unknown && only_semicolons(now, &mut tokens).is_some()
}

/// Why a page has no end of its own in `sql`, a query at whose end a limit was put; nothing where it has, and where the text
/// is not understood. Behind `AS` the word is the name of a column.
pub(crate) fn spoils_limit(backend: DbBackend, sql: &str) -> Option<&'static str> {
    let known: &[&str] = match backend {
        DbBackend::Postgres => &["limit", "fetch"],
        _ => &["limit"],
    };
    let mut tokens = Lexer::new(backend, sql);
    let mut limits = 0;
    let mut before = Token::End;
    loop {
        let now = tokens.next_token();
        match now {
            Token::End if limits == 0 => return Some("ends in a comment"),
            Token::End if limits > 1 => return Some("has a limit of its own"),
            Token::End | Token::Unknown => return None,
            Token::Punct(b';') => return Some("has a semicolon"),
            Token::Word(_) if before == Token::Punct(b'.') || is(before, "as") => {}
            Token::Word(word) if tokens.is_balanced() => {
                limits += usize::from(is_any(word, known));
            }
            _ => {}
        }
        before = now;
    }
}

/// Skips opening brackets and returns the first word when a read may begin with it.
///
/// The plan of a read is a read too; `EXPLAIN` with options may run what it explains, so it is not, but for the one that
/// says nothing new.
fn head<'a>(backend: DbBackend, tokens: &mut Lexer<'a>) -> Option<Token<'a>> {
    let mut now = tokens.next_token();
    if is(now, "explain") {
        now = tokens.next_token();
        if is(now, "query") {
            // SQLite's form.
            is(tokens.next_token(), "plan").then_some(())?;
            now = tokens.next_token();
        } else if asks_for_format(backend, now) {
            now = behind_format(tokens);
        } else if now == Token::Punct(b'(') {
            now = tokens.next_token();
            if is(now, "costs") {
                (tokens.next_token() == Token::Punct(b')')).then_some(())?;
                now = tokens.next_token();
            }
        }
    }
    loop {
        match now {
            Token::Punct(b'(') => now = tokens.next_token(),
            Token::Word(word) if is_any(word, &["select", "values", "table", "with"]) => {
                return Some(now);
            }
            _ => return None,
        }
    }
}

/// Whether the plan is wanted in a form of its own, seen at the word behind `EXPLAIN`: with it MySQL and MariaDB run no more than
/// without.
fn asks_for_format(backend: DbBackend, token: Token<'_>) -> bool {
    backend == DbBackend::MySql && is(token, "format")
}

/// What comes behind `= JSON`.
fn behind_format<'a>(tokens: &mut Lexer<'a>) -> Token<'a> {
    let is_told =
        tokens.next_token() == Token::Punct(b'=') && matches!(tokens.next_token(), Token::Word(_));
    match is_told {
        true => tokens.next_token(),
        false => Token::Unknown,
    }
}

/// Nothing but further semicolons may follow the first.
fn only_semicolons<'a>(mut next: Token<'a>, tokens: &mut Lexer<'a>) -> Option<()> {
    while next == Token::Punct(b';') {
        next = tokens.next_token();
    }
    (next == Token::End && tokens.is_balanced()).then_some(())
}

/// Whether an unquoted word, seen with what follows it, writes or locks.
fn writes(word: &str, next: Token<'_>) -> bool {
    let followed_by = |words: &[&str]| matches!(next, Token::Word(w) if is_any(w, words));
    match word.len() {
        3 if word.eq_ignore_ascii_case("for") => followed_by(&["update", "share", "no", "key"]),
        4 if word.eq_ignore_ascii_case("lock") => followed_by(&["in"]),
        // A sequence of MariaDB: `next value for s`.
        4 if word.eq_ignore_ascii_case("next") => followed_by(&["value"]),
        4 => is_any(word, &["into"]),
        5 => is_any(word, &["merge"]),
        6 => is_any(word, &["insert", "update", "delete"]),
        // `replace(text, ..)` is a function everywhere; `REPLACE INTO` is a write.
        7 if word.eq_ignore_ascii_case("replace") => next != Token::Punct(b'('),
        8 if word.eq_ignore_ascii_case("previous") => followed_by(&["value"]),
        8 => is_any(word, &["truncate"]) && next != Token::Punct(b'('),
        // MySQL before 8.0 and MariaDB: it stands behind the query and is no part of it.
        9 if word.eq_ignore_ascii_case("procedure") => followed_by(&["analyse"]),
        // For the session that asks for FOUND_ROWS() next.
        19 => is_any(word, &["sql_calc_found_rows"]),
        _ => false,
    }
}

fn is(token: Token<'_>, name: &str) -> bool {
    matches!(token, Token::Word(word) if is_any(word, &[name]))
}

fn is_any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|w| word.eq_ignore_ascii_case(w))
}

#[cfg(test)]
mod tests;
