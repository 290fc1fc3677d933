//! Values that stand behind the name of a secret: pure.

/// Words whose value is a secret, in lower case and without `_`, `-` and spaces between their parts.
const SECRETS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "authorization",
];

/// The same words as they stand in a text.
const KEYS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "access_key",
    "access-key",
    "accesskey",
    "secret_key",
    "secret-key",
    "secretkey",
    "private_key",
    "private-key",
    "privatekey",
    "credential",
];

/// Keys whose value follows at once, as in SQL, or that are masked as headers when it is not quoted.
const QUOTED_KEYS: [&str; 4] = ["identified by", "_password by", "authorization", "cookie"];

/// `password`, `dbPassword`, `x-api-key`, `tokens`; not `password_expires`, which is no secret.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.trim_end_matches(|c: char| !c.is_alphabetic());
    let joined: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    let joined = joined.to_ascii_lowercase();
    let single = joined.strip_suffix('s').unwrap_or(&joined);
    let is = |secret: &&str| joined.ends_with(*secret) || single.ends_with(*secret);
    match SECRETS.iter().chain(&["cookie"]).find(|secret| is(secret)) {
        Some(&"pass") => begins_a_word(name, name.len() - "pass".len()),
        found => found.is_some(),
    }
}

/// `tokens`: what counts them is no secret.
pub(super) fn names_several(name: &str) -> bool {
    name.trim_end().ends_with(['s', 'S']) && !name.to_ascii_lowercase().ends_with("pass")
}

/// `compass` ends in `pass`, `dbPass` and `db_pass` have it as a word.
fn begins_a_word(text: &str, at: usize) -> bool {
    let Some(before) = text.get(..at).and_then(|before| before.chars().next_back()) else {
        return true;
    };
    let upper = text[at..].starts_with(|c: char| c.is_ascii_uppercase());
    !before.is_alphabetic() || upper && before.is_lowercase()
}

/// `password=x`, `token: x`, `--password x`, `IDENTIFIED BY 'x'` and the like become `password=***`.
pub(super) fn mask_key_values(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let keys = KEYS.iter().chain(&QUOTED_KEYS);
    let mut places: Vec<(usize, &str)> = keys
        .flat_map(|key| lower.match_indices(key))
        .filter(|&(at, key)| key != "pass" || begins_a_word(text, at))
        .collect();
    places.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, key) in places {
        // Within a value that is masked already there is nothing to look for.
        if at < done {
            continue;
        }
        if let Some((start, end)) = secret_after(&lower, at, key) {
            out.push_str(&text[done..start]);
            out.push_str("***");
            done = end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// The value that belongs to the `key` at `at`.
fn secret_after(lower: &str, at: usize, key: &str) -> Option<(usize, usize)> {
    let behind = &lower[at + key.len()..];
    let plural = behind.starts_with('s');
    let name_end = behind[usize::from(plural)..].trim_start_matches(|c: char| c.is_ascii_digit());
    let closed = name_end.trim_start_matches(['"', '\'', '`', '\\', ']']);
    let rest = closed.trim_start();
    let signed = rest.trim_start_matches([':', '=']);
    let has_sign = signed.len() < rest.len();
    let value = if has_sign {
        signed.strip_prefix('>').unwrap_or(signed).trim_start()
    } else if is_argument(&lower[..at]) {
        // An argument: its value is the next one.
        let value = closed.trim_start_matches([',', ' ', '\t', '\n']);
        (value.len() < closed.len()).then_some(value)?
    } else {
        // SQL has no sign, but quotes; English has neither.
        let bare = rest.len() < closed.len() && closed.len() == name_end.len();
        rest.starts_with(['\'', '"'])
            .then_some(rest)
            .filter(|_| bare)?
    };
    let quoted = value.starts_with(['"', '\'', '\\', '[']);
    let first = value.split(|c: char| !c.is_alphanumeric()).next()?;
    let counts = plural && !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    if counts || !quoted && QUOTED_KEYS.contains(&key) {
        return None;
    }
    let sign = rest.chars().next().filter(|_| has_sign).unwrap_or(' ');
    let length = value_length(value, sign, &lower[..at]);
    let start = lower.len() - value.len();
    (length > 0).then_some((start, start + length))
}

/// Whether the word that ends with `before` has begun with `--`, as in `--db-password` and `["--password"`.
fn is_argument(before: &str) -> bool {
    let word = before.rsplit(char::is_whitespace).next();
    word.is_some_and(|word| {
        let word = word.rsplit(['[', ',', '"', '\'']).next();
        word.is_some_and(|word| word.starts_with("--"))
    })
}

/// How long the value is that `text` begins with; `before` is what stands in front of its key.
fn value_length(text: &str, sign: char, before: &str) -> usize {
    let name = text.len()
        - text
            .trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            .len();
    match text[name..].chars().next() {
        // `Some("x")`, `["x", "y"]`.
        Some('(' | '[' | '{') => name + bracketed(&text[name..]),
        Some(quote @ ('"' | '\'')) if name <= 1 => name + quoted(&text[name..], quote),
        Some('\\') if name == 0 && text[1..].starts_with(['"', '\'']) => {
            // Quoted within a quoted text.
            let close = text[2..].find(&text[..2]);
            close.map_or(text.len(), |close| close + 4)
        }
        _ => bare(text, sign, &open_at_the_end(before)),
    }
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

/// Up to the bracket that closes the first one; one within quotes does not count.
fn bracketed(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' => {
                at += quoted(&text[at..], c);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            break;
        }
    }
    at
}

/// Up to where the text surely goes on behind the value: a passphrase may hold blanks, commas and brackets. That is the end of the
/// line, the next `key=`, and what closes a bracket or quote in `open`; behind an argument, whose sign is a blank, the next blank.
fn bare(text: &str, sign: char, open: &str) -> usize {
    let end = text.char_indices().find(|&(at, c)| {
        let rest = &text[at + c.len_utf8()..];
        match c {
            '\r' | '\n' => true,
            _ if c.is_whitespace() && sign == ' ' => true,
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

/// What would close the brackets and quotes that are open at the end of `text`.
fn open_at_the_end(text: &str) -> String {
    let mut open = String::new();
    for c in text.chars() {
        if open.ends_with(c) && ")]}\"'`".contains(c) {
            open.pop();
            continue;
        }
        match c {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            '"' | '\'' | '`' => open.push(c),
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::{bare, bracketed, mask_key_values, open_at_the_end, quoted};

    #[test]
    fn each_of_many_secrets_is_masked() {
        let masked = mask_key_values(&"password=x token: 'y' ".repeat(300));
        assert_eq!(masked, "password=*** token: *** ".repeat(300));
    }

    #[test]
    fn a_value_ends_where_the_text_goes_on() {
        for (text, value) in [
            ("a,b", "a,b"),
            ("a, b", "a, b"),
            ("a b c", "a b c"),
            ("a b c=d", "a b"),
            ("a b failed: c", "a b"),
            ("a b 12:30", "a b 12:30"),
            ("a b\nc", "a b"),
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
        assert_eq!(open_at_the_end("(a [b] {c} \"d\" 'e"), ")'");
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
            ("(a) b", "(a)"),
            ("[a, (b)] c", "[a, (b)]"),
            (r#"(")") b"#, r#"(")")"#),
            ("[a", "[a"),
        ] {
            assert_eq!(&text[..bracketed(text)], value, "{text}");
        }
    }
}
