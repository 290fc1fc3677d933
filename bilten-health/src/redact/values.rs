//! Where the value of a secret ends: pure.

/// How long the value is that `text` begins with; `open` is what would close the brackets and quotes in front of its key.
pub(super) fn value_length(text: &str, sign: char, open: &str) -> usize {
    let name = text.len()
        - text
            .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            .len();
    match text[name..].chars().next() {
        // `Some("x")`, `["x", "y"]`.
        Some('(' | '[' | '{') => name + bracketed(&text[name..]),
        Some(quote @ ('"' | '\'')) if name <= 1 => name + pieces(&text[name..], quote),
        Some('\\') if name == 0 && text[1..].starts_with(['"', '\'']) => {
            // Quoted within a quoted text.
            let close = text[2..].find(&text[..2]);
            close.map_or(text.len(), |close| close + 4)
        }
        _ => bare(text, sign, open),
    }
}

/// What is quoted, and what belongs to it as in a shell and in SQL: `""x` and `'x' 'y'`.
fn pieces(text: &str, quote: char) -> usize {
    let mut end = quoted(text, quote);
    loop {
        let rest = &text[end..];
        let next = rest.trim_start_matches([' ', '\t']);
        if next.starts_with(quote) {
            end = text.len() - next.len();
            end += quoted(next, quote);
        } else if rest.starts_with(|c: char| c.is_alphanumeric()) {
            end += rest.find(ends_a_word).unwrap_or(rest.len());
        } else {
            return end;
        }
    }
}

fn ends_a_word(c: char) -> bool {
    c.is_whitespace() || "\"'`,;&<>()[]{}".contains(c)
}

/// A quote behind a backslash, or doubled as in SQL, is part of the text.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        let doubled = at > 1 && chars.peek().is_some_and(|&(_, next)| next == quote);
        match c {
            '\\' => drop(chars.next()),
            _ if c == quote && doubled => drop(chars.next()),
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Up to and with the bracket that closes the first one, or the end.
fn bracketed(text: &str) -> usize {
    closing(text, 0).map_or(text.len(), |at| at + 1)
}

/// Where the bracket stands that closes the last of `depth` open ones; one within quotes does not count.
pub(super) fn closing(text: &str, mut depth: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' => {
                at += quoted(&text[at..], c);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 1 => return Some(at),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

/// Up to where the text surely goes on behind the value: a passphrase may hold blanks, commas and brackets. That is the end of the
/// line, the next `key=`, and what closes a bracket or quote in `open`; behind an argument, whose sign is a blank, the next blank.
pub(super) fn bare(text: &str, sign: char, open: &str) -> usize {
    let mut before = ' ';
    let end = text.char_indices().find(|&(at, c)| {
        let rest = &text[at + c.len_utf8()..];
        // Of several blanks the first has looked behind all of them.
        let looked = std::mem::replace(&mut before, c).is_whitespace() && c.is_whitespace();
        match c {
            '\r' | '\n' => true,
            _ if c.is_whitespace() && sign == ' ' => true,
            _ if looked => false,
            _ if c.is_whitespace() || "&,;".contains(c) => begins_with_a_key(rest, c, sign),
            _ => open.contains(c) && goes_on(rest),
        }
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// Whether `key=` or `key: ` comes next behind the `separator`.
fn begins_with_a_key(rest: &str, separator: char, sign: char) -> bool {
    let word = rest.trim_start();
    let apart = separator.is_whitespace() || word.len() < rest.len();
    let behind = word.trim_start_matches(|c: char| c.is_alphanumeric() || "_-.\"'".contains(c));
    let ends_a_word = |text: &str| text.is_empty() || text.starts_with([' ', '"', '\'', '\n']);
    let colon = behind.strip_prefix(':');
    let told = behind.starts_with('=')
        || colon.is_some_and(|value| sign == ':' || apart && ends_a_word(value));
    told && behind.len() < word.len()
}

/// The end, a blank or another sign, as behind a closing bracket or quote.
fn goes_on(rest: &str) -> bool {
    let next = rest.chars().next();
    next.is_none_or(|next| next.is_whitespace() || ",;:.&)]}\"'`".contains(next))
}

/// More brackets than anybody opens on purpose; those beyond are not looked at.
const DEEPEST: usize = 64;

/// What would close the brackets and quotes that are open at some place of a text; reads on from where it stood.
#[derive(Debug, Default)]
pub(super) struct Open {
    closers: String,
    read: usize,
}

impl Open {
    pub(super) fn closers(&self) -> &str {
        &self.closers
    }

    pub(super) fn read_up_to(&mut self, text: &str, at: usize) {
        for c in text[self.read..at].chars() {
            if self.closers.ends_with(c) && ")]}\"'`".contains(c) {
                self.closers.pop();
                continue;
            }
            let closer = match c {
                '(' => ')',
                '[' => ']',
                '{' => '}',
                '"' | '\'' | '`' => c,
                _ => continue,
            };
            if self.closers.len() < DEEPEST {
                self.closers.push(closer);
            }
        }
        self.read = at;
    }
}

#[cfg(test)]
mod tests {
    use super::{Open, bare, bracketed, pieces, quoted};

    #[test]
    fn a_value_ends_where_the_text_goes_on() {
        for (text, value) in [
            ("a,b", "a,b"),
            ("a, b", "a, b"),
            ("a b c", "a b c"),
            ("a b c=d", "a b"),
            ("a   b  c=d", "a   b"),
            ("a b failed: c", "a b"),
            ("a b 12:30", "a b 12:30"),
            ("a b\nc", "a b"),
            ("a \nc", "a "),
            ("a&b=c", "a"),
            ("a&b c", "a&b c"),
            ("a; b=c", "a"),
            ("a; b", "a; b"),
            ("a) b", "a) b"),
            ("a,b:c", "a,b:c"),
        ] {
            assert_eq!(&text[..bare(text, '=', "")], value, "{text}");
        }
        for (text, value) in [
            ("a)) b", "a"),
            ("a)b) c", "a)b"),
            ("a\" b", "a"),
            ("a] b", "a] b"),
        ] {
            assert_eq!(&text[..bare(text, '=', ")\"")], value, "{text}");
        }
        assert_eq!(bare("a,b:c", ':', ""), 1);
        assert_eq!(bare("a b", ' ', ""), 1);
        for (text, value) in [
            (r#""a" b"#, r#""a""#),
            (r#""a\"b" c"#, r#""a\"b""#),
            (r#""a"""#, r#""a"""#),
            (r#""" b"#, r#""""#),
            (r#""a"#, r#""a"#),
        ] {
            assert_eq!(&text[..quoted(text, '"')], value, "{text}");
        }
        for (text, value) in [
            (r#"""a b"#, r#"""a"#),
            (r#""a" "b" c"#, r#""a" "b""#),
            (r#""a"b"c d" e"#, r#""a"b"c d""#),
            (r#""a", "b""#, r#""a""#),
            (r#""a": 1"#, r#""a""#),
            (r#""a" 'b'"#, r#""a""#),
        ] {
            assert_eq!(&text[..pieces(text, '"')], value, "{text}");
        }
        for (text, value) in [
            ("(a) b", "(a)"),
            ("[a, (b)] c", "[a, (b)]"),
            (r#"(")") b"#, r#"(")")"#),
            ("[a", "[a"),
        ] {
            assert_eq!(&text[..bracketed(text)], value, "{text}");
        }
    }

    #[test]
    fn what_is_open_is_known_at_each_place() {
        let text = "(a [b] {c} \"d\" 'e";
        let mut open = Open::default();
        for (at, closers) in [(0, ""), (4, ")]"), (6, ")"), (text.len(), ")'")] {
            open.read_up_to(text, at);
            assert_eq!(open.closers(), closers, "{}", &text[..at]);
        }
        open = Open::default();
        let many = "(".repeat(1000);
        open.read_up_to(&many, 1000);
        assert_eq!(open.closers().len(), 64);
    }
}
