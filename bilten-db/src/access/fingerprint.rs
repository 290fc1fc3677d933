//! What statements have in common that differ in their values and comments alone.

use sea_orm::DbBackend;

use super::lexer::{Lexer, Token};

/// The same for texts that differ only in blanks, comments, strings, numbers, parameters, and the case of unquoted words.
///
/// What is behind something that is not understood counts as it stands. Does not allocate.
pub(crate) fn fingerprint(backend: DbBackend, sql: &str) -> u64 {
    let mut tokens = Lexer::new(backend, sql);
    let mut print = Print::default();
    loop {
        // What stands before the bytes keeps `a b` from being `ab`, and a quoted name from being a word.
        match tokens.next_token() {
            Token::End => return print.0,
            Token::Unknown => return print.all(b'?', sql.bytes()).0,
            Token::Literal => print = print.all(b'$', []),
            Token::Punct(byte) => print = print.all(b'.', [byte]),
            Token::Quoted(name) => print = print.all(b'"', name.bytes()),
            Token::Word(word) => {
                print = print.all(b'w', word.bytes().map(|byte| byte.to_ascii_lowercase()));
            }
        }
    }
}

/// FNV-1a.
struct Print(u64);

impl Default for Print {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Print {
    fn all(self, kind: u8, bytes: impl IntoIterator<Item = u8>) -> Self {
        let add = |print: u64, byte: u8| (print ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.into_iter().fold(add(self.0, kind), add))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> u64 {
        fingerprint(DbBackend::Postgres, sql)
    }

    #[test]
    fn values_comments_blanks_and_case_make_no_difference() {
        let same = [
            "select wr(1, 'a') from event",
            "SELECT wr(22, 'it''s')  FROM  event",
            "select wr($1, $2) from event -- by id",
            "/*route='%2Fevents'*/ select /* :) */ wr(3.5, $$b$$) from event /*a='b'*/",
        ];
        let prints = same.map(of);
        assert_eq!(prints, [prints[0]; 4]);
    }

    #[test]
    fn another_statement_is_another() {
        let different = [
            "select wr(1) from event",
            "select rd(1) from event",
            "select wr(1) from ticket",
            "select wr(1), wr(1) from event",
            "select wr(id) from event",
            "select \"wr\"(1) from event",
            "select w r(1) from event",
            "select wr(1) from event; select 1",
            "select wr(1) from event 'never ends",
            "select wr(1) from event \u{0}",
        ];
        let prints: std::collections::HashSet<_> = different.map(of).into_iter().collect();
        assert_eq!(prints.len(), different.len());
    }
}
