//! Rust text as the scanners see it: code without comments and literals, and its words.

/// `text` with comments, strings and character literals replaced by spaces, line for line.
pub(super) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.ends_with(is_word);
        let blank = comment(rest)
            .or_else(|| if after_word { None } else { raw_string(rest) })
            .or_else(|| string(rest))
            .or_else(|| character(rest));
        let length = blank.unwrap_or(first.len_utf8());
        let (piece, tail) = rest.split_at(length);
        if blank.is_some() {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push(first);
        }
        rest = tail;
    }
    code
}

/// The length of the comment that `text` starts with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match (rest.starts_with(b"/*"), rest.starts_with(b"*/")) {
            (true, _) => {
                depth += 1;
                2
            }
            (_, true) if depth == 1 => return Some(at + 2),
            (_, true) => {
                depth -= 1;
                2
            }
            _ => 1,
        };
    }
    Some(text.len())
}

/// The length of the raw string, byte or not, that `text` starts with.
fn raw_string(text: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(*prefix)
            .is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let open = text.find('"')?;
    let close = format!("\"{}", &text[prefix.len()..open]);
    let end = text[open + 1..].find(&close)?;
    Some(open + 1 + end + close.len())
}

fn string(text: &str) -> Option<usize> {
    text.starts_with('"')
        .then(|| until(text, '"').unwrap_or(text.len()))
}

/// The length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    if first == '\\' {
        return until(text, '\'');
    }
    inner[first.len_utf8()..]
        .starts_with('\'')
        .then(|| first.len_utf8() + 2)
}

/// The length up to and with the next `quote` that no backslash escapes.
fn until(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    None
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word, `::`, or any other single sign, with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) line: usize,
}

impl Token<'_> {
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(is_word)
    }
}

/// Splits what [`code_only`] returned.
pub(super) fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (line, mut rest) in (1..).zip(code.lines()) {
        loop {
            rest = rest.trim_start();
            let Some(first) = rest.chars().next() else {
                break;
            };
            let length = match first {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            found.push(Token {
                text: &rest[..length],
                line,
            });
            rest = &rest[length..];
        }
    }
    found
}

/// The tokens without what only tests compile: the item after each `#[cfg(test)]`.
pub(super) fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let attribute = tokens[at..].iter().map(|token| token.text).take(TEST.len());
        if attribute.eq(TEST) {
            at = item_end(tokens, at + TEST.len());
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// The index after the item that starts at `at`: after its `;` or its closing brace.
pub(super) fn item_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "{" => depth += 1,
            "}" if depth <= 1 => return index + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let code = code_only(text);
        tokens(&code)
            .iter()
            .map(|token| token.text.to_owned())
            .collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        for (text, expected) in [
            ("a // crate::b\nc", "a c"),
            ("a /* x /* crate::b */ y */ c", "a c"),
            (r#"f("crate::b \" {", 'x', '\'', '{')"#, "f ( , , , )"),
            ("r#\"say \"crate::b\"\"# end", "end"),
            ("br\"raw\\\" end", "end"),
            ("fn f<'a>(x: &'a str)", "fn f < ' a > ( x : & ' a str )"),
            ("r#type::x", "r # type :: x"),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn lines_stay_where_they_were() {
        let text = "one\n/* two\nthree */ four\n\"five\nsix\" seven";
        let code = code_only(text);
        let lines: Vec<_> = tokens(&code)
            .iter()
            .map(|token| (token.text.to_owned(), token.line))
            .collect();
        assert_eq!(
            lines,
            [
                ("one".to_owned(), 1),
                ("four".to_owned(), 3),
                ("seven".to_owned(), 5)
            ]
        );
    }

    #[test]
    fn test_modules_and_test_imports_are_left_out() {
        let code = "use a; #[cfg(test)] use b; fn f() {} #[cfg(test)] mod tests { mod x { } use c; } fn g() {}";
        let all = tokens(code);
        let kept: Vec<_> = without_tests(&all).iter().map(|token| token.text).collect();
        assert_eq!(kept.join(" "), "use a ; fn f ( ) { } fn g ( ) { }");
    }
}
