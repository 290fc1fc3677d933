//! What a codec says of a value it cannot read, without what it shows of the value: a log is no place for a session's token.

/// More of an error's words helps nobody.
const MOST: usize = 200;

/// The words of a codec or of a type's own reader, for a log.
///
/// serde says `invalid type: string "..", expected ..`: what stands between the first quote and what was expected is the
/// value's. What a type's own reader says in quotes is left out too.
pub(crate) fn without_values(told: &str) -> String {
    // The last one: a text that is shown may contain it, what is expected never follows a text.
    let (begins, expected) = told
        .rfind(", expected ")
        .map_or((told, ""), |at| told.split_at(at));
    let begins = match begins.split_once(['"', '`']) {
        _ if names_a_field(begins) => begins.to_owned(),
        Some((before, after)) => {
            let rest = after.rfind(['"', '`']).map_or("", |at| &after[at + 1..]);
            [before, "..", if expected.is_empty() { rest } else { "" }].concat()
        }
        None => begins.to_owned(),
    };
    begins.chars().chain(expected.chars()).take(MOST).collect()
}

/// The name is the type's own.
fn names_a_field(told: &str) -> bool {
    let before = told.split(['"', '`']).next().unwrap_or(told);
    before.ends_with("missing field ") || before.ends_with("duplicate field ")
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
                "unknown variant `token`, expected `A` or `B` at line 1 column 7",
                "unknown variant .., expected `A` or `B` at line 1 column 7",
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
                "no date: \"token\" at line 1 column 2",
                "no date: .. at line 1 column 2",
            ),
            (
                "EOF while parsing a value at line 1 column 0",
                "EOF while parsing a value at line 1 column 0",
            ),
            ("half a \"token", "half a .."),
            ("", ""),
        ] {
            assert_eq!(without_values(told), kept);
        }
    }

    #[test]
    fn a_text_of_a_megabyte_is_cut() {
        let told = format!("no {}", "\u{e9}".repeat(1 << 20));
        assert_eq!(without_values(&told).chars().count(), MOST);
    }
}
