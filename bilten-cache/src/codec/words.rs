//! What a codec says of a value it cannot read, without what it shows of the value: a log is no place for a session's token.
//!
//! Only words are shown that serde, the formats and this crate are known to make by themselves. What a type's own reader says may show the value
//! in any way.

/// More of an error's words helps nobody.
const MOST: usize = 200;

const HIDDEN: &str = "what its reader says is not shown: it may show the value";
const READ_BACK: &str = "it cannot be read back: ";
const EXPECTED: &str = ", expected ";

/// What the formats and this crate say, with 0 for any number.
const OWN: &[&str] = &[
    "0 bytes are left over after the value",
    "EOF while parsing a list",
    "EOF while parsing a string",
    "EOF while parsing a value",
    "EOF while parsing an object",
    "IO error while reading data: failed to fill whole buffer",
    "IO error while reading marker: failed to fill whole buffer",
    "array had incorrect length, expected 0",
    "control character (\\u0000-\\u001F) found while parsing a string",
    "depth limit exceeded",
    "expected `,` or `]`",
    "expected `,` or `}`",
    "expected `:`",
    "expected `\"`",
    "expected ident",
    "expected value",
    "float key must be finite (got NaN or +/-inf)",
    "invalid escape",
    "invalid number",
    "invalid unicode code point",
    "invalid value: expected key to be a number in quotes",
    "it has a byte that means nothing",
    "it has a float that is NaN or infinite, which JSON cannot hold",
    "it is a `Some` of something that is written as null, and would come back as `None`",
    "it is longer than allowed",
    "it is nested more than 0 times",
    "it is nested more than 0 times, which is not read again",
    "key must be a string",
    "lone leading surrogate in hex escape",
    "number out of range",
    "numeric cast found out of range",
    "recursion limit exceeded",
    "the value is cut short",
    "trailing characters",
    "trailing comma",
    "unexpected end of hex escape",
];

/// What begins so goes on with something of the value, or of what a panic said.
const BEGINNINGS: &[&str] = &[
    "its `Deserialize` panicked",
    "its `Serialize` panicked",
    "string found to be invalid utf8",
    "wrong msgpack marker",
];

/// What serde says of an enum, before and behind the name of its type.
const OF_ENUMS: &[(&str, &str)] = &[
    ("data did not match any variant of untagged enum ", ""),
    ("no variant of enum ", " found in flattened data"),
];

/// What serde calls a value that it does not show.
const KINDS: &[&str] = &[
    "Option value",
    "byte array",
    "enum",
    "map",
    "newtype struct",
    "newtype variant",
    "null",
    "sequence",
    "struct variant",
    "tuple variant",
    "unit value",
    "unit variant",
];

/// The words of a codec or of a type's own reader, for a log.
pub(crate) fn without_values(told: &str) -> String {
    let (before, told) = match told.strip_prefix(READ_BACK) {
        Some(told) => (READ_BACK, told),
        None => ("", told),
    };
    let (told, place) = told.split_at(told.len() - place(told).len());
    let words = words(told).unwrap_or_else(|| HIDDEN.to_owned());
    let all = before.chars().chain(words.chars());
    all.take(MOST).chain(place.chars()).collect()
}

/// `at line 1 column 9`, where it ends so.
fn place(told: &str) -> &str {
    let at = told.rfind(" at line ").filter(|at| {
        let (line, column) = told[at + 9..].split_once(" column ").unwrap_or_default();
        let is_number = |text: &str| {
            (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        is_number(line) && is_number(column)
    });
    at.map_or("", |at| &told[at..])
}

fn words(told: &str) -> Option<String> {
    if OWN.contains(&without_numbers(told).as_str()) {
        return Some(told.to_owned());
    }
    if let Some(begins) = BEGINNINGS.iter().find(|begins| told.starts_with(**begins)) {
        return Some((*begins).to_owned());
    }
    if OF_ENUMS.iter().any(|around| names_a_type(told, *around)) {
        return Some(told.to_owned());
    }
    let (what, rest) = told.split_once(' ')?;
    match (what, rest.split_once(' ')?) {
        ("invalid", ("type:" | "value:", found)) => Some(unexpected(told, found)),
        ("invalid", ("length", found)) => {
            let (length, _) = found.split_once(EXPECTED)?;
            let is_number = length.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| told.to_owned())
        }
        // The name is the type's own.
        ("missing" | "duplicate", ("field", name)) => {
            let name = name.strip_prefix('`')?.strip_suffix('`')?;
            (!name.contains('`')).then(|| told.to_owned())
        }
        // The name is the value's, and what follows the type's.
        ("unknown", (kind @ ("variant" | "field"), name)) => Some(unknown(kind, name)),
        _ => None,
    }
}

fn names_a_type(told: &str, (before, behind): (&str, &str)) -> bool {
    let name = told
        .strip_prefix(before)
        .and_then(|told| told.strip_suffix(behind));
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    name.is_some_and(|name| !name.is_empty() && name.chars().all(is_part))
}

/// Without the value; with what was expected where it is certain that it is that.
fn unexpected(told: &str, found: &str) -> String {
    let begins = &told[..told.len() - found.len()];
    let (kind, after) = match found.split_once(['"', '`']) {
        Some((kind, _)) if found.as_bytes().get(kind.len()) == Some(&b'"') => {
            (kind, after_text(&found[kind.len()..]))
        }
        // Of one character it may be that of the quotes.
        Some((kind, value)) if !kind.contains(EXPECTED) => {
            let ends = value
                .char_indices()
                .nth(1)
                .map_or(value.len(), |(at, _)| at);
            let end = value[ends..].find(&["`", EXPECTED].concat());
            (kind, end.map(|end| &value[ends + end + 1..]))
        }
        _ => (
            found.split(EXPECTED).next().unwrap_or_default(),
            found.find(EXPECTED).map(|at| &found[at..]),
        ),
    };
    let shows = after.is_some_and(|after| after.starts_with(EXPECTED));
    let is_plain = KINDS.contains(&kind);
    let is_known = match kind {
        "string " | "boolean " | "integer " | "floating point " | "character " => true,
        _ => is_plain,
    };
    match (is_known && shows, is_plain) {
        (true, true) => [begins, kind, after.unwrap_or_default()].concat(),
        (true, false) => [begins, kind, "..", after.unwrap_or_default()].concat(),
        (false, _) => [begins, ".."].concat(),
    }
}

/// What follows a text in quotes, as serde shows it.
fn after_text(quoted: &str) -> Option<&str> {
    let mut escaped = false;
    let end = quoted.char_indices().skip(1).find(|(_, character)| {
        let ends = *character == '"' && !escaped;
        escaped = *character == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| &quoted[at + 1..])
}

fn unknown(kind: &str, name: &str) -> String {
    let none = format!("`, there are no {kind}s");
    let ends = match name.ends_with(&none) {
        true => &none[1..],
        // The last one: a name that is shown may contain it, what is expected does not.
        false => name
            .rfind(&["`", EXPECTED].concat())
            .map_or("", |at| &name[at + 1..]),
    };
    ["unknown ", kind, " ..", ends].concat()
}

fn without_numbers(told: &str) -> String {
    let mut words = String::with_capacity(told.len().min(MOST));
    // None of ours is longer.
    for character in told.chars().take(MOST) {
        match character.is_ascii_digit() && !words.contains("\\u") {
            true if words.ends_with('0') => {}
            true => words.push('0'),
            false => words.push(character),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrong_stays_and_the_value_goes() {
        for (told, kept) in [
            (
                "invalid type: string \"tok\\\"en, expected x\", expected struct Session at line 1 column 9",
                "invalid type: string .., expected struct Session at line 1 column 9",
            ),
            (
                "invalid value: integer `70000`, expected u16",
                "invalid value: integer .., expected u16",
            ),
            (
                "invalid value: character ```, expected a letter",
                "invalid value: character .., expected a letter",
            ),
            (
                "invalid type: null, expected u8 at line 1 column 4",
                "invalid type: null, expected u8 at line 1 column 4",
            ),
            (
                "invalid length 3, expected an array of length 4",
                "invalid length 3, expected an array of length 4",
            ),
            (
                "unknown variant `token`, expected `A` or `B` at line 1 column 7",
                "unknown variant .., expected `A` or `B` at line 1 column 7",
            ),
            (
                "unknown variant `x`, expected SECRET`, there are no variants",
                "unknown variant .., there are no variants",
            ),
            (
                "it cannot be read back: invalid type: map, expected u8",
                "it cannot be read back: invalid type: map, expected u8",
            ),
            (
                "missing field `name` at line 1 column 2",
                "missing field `name` at line 1 column 2",
            ),
            (
                "data did not match any variant of untagged enum Price_2 at line 1 column 9",
                "data did not match any variant of untagged enum Price_2 at line 1 column 9",
            ),
            (
                "no variant of enum Price found in flattened data",
                "no variant of enum Price found in flattened data",
            ),
            (
                "EOF while parsing a value at line 1 column 0",
                "EOF while parsing a value at line 1 column 0",
            ),
            (
                "17 bytes are left over after the value",
                "17 bytes are left over after the value",
            ),
            (
                "control character (\\u0000-\\u001F) found while parsing a string",
                "control character (\\u0000-\\u001F) found while parsing a string",
            ),
        ] {
            assert_eq!(without_values(told), kept);
        }
    }

    /// In quotes or not, whoever says it.
    #[test]
    fn what_a_reader_of_its_own_or_a_panic_says_is_not_shown() {
        for told in [
            "unknown role TOKEN",
            "TOKEN",
            "no date: \"TOKEN\"",
            "no date: \"tok, expected TOKEN\"",
            "half a \"TOKEN",
            "invalid type: TOKEN, expected TOKEN",
            "invalid value: Option value of TOKEN",
            "invalid value: string \"TOKEN",
            "invalid length TOKEN, expected u8",
            "unknown variant TOKEN",
            "missing field `TOKEN` and `TOKEN`",
            "its `Deserialize` panicked: TOKEN",
            "its `Serialize` panicked: `TOKEN` TOKEN",
            "it cannot be read back: TOKEN",
            "uncategorized error: TOKEN",
            "data did not match any variant of untagged enum Price: TOKEN",
            "no variant of enum TOKEN for you found in flattened data",
            "no variant of enum TOKEN",
        ] {
            let shown = without_values(&[told, " at line 1 column 40"].concat());
            assert!(!shown.contains("TOKEN"), "{told}: {shown}");
            assert!(shown.ends_with(" at line 1 column 40"), "{told}: {shown}");
        }
        assert_eq!(without_values("unknown role TOKEN"), HIDDEN);
        let panicked = "its `Serialize` panicked: TOKEN at line TOKEN column 1";
        assert_eq!(without_values(panicked), "its `Serialize` panicked");
    }

    #[test]
    fn a_text_of_a_megabyte_is_cut() {
        let told = format!("unknown field `x`, expected `{}`", "\u{e9}".repeat(1 << 20));
        assert_eq!(without_values(&told).chars().count(), MOST);
    }
}
