//! What is said about secrets and is none, and what looks like one where nothing else tells: pure.

/// Words that follow the name of a secret in a message, and that nobody takes as one.
const SAID: [&str; 59] = [
    "and",
    "are",
    "authentication",
    "authorization",
    "because",
    "but",
    "called",
    "cannot",
    "check",
    "command",
    "could",
    "denied",
    "did",
    "disabled",
    "does",
    "empty",
    "error",
    "expired",
    "failed",
    "failure",
    "for",
    "forbidden",
    "found",
    "from",
    "given",
    "had",
    "has",
    "have",
    "header",
    "in",
    "incorrect",
    "invalid",
    "is",
    "may",
    "method",
    "mismatch",
    "missing",
    "must",
    "needs",
    "none",
    "not",
    "null",
    "of",
    "on",
    "or",
    "refused",
    "rejected",
    "required",
    "scheme",
    "should",
    "the",
    "to",
    "unset",
    "verification",
    "was",
    "were",
    "will",
    "with",
    "wrong",
];

/// All that stands behind the sign when there is no secret.
const ABSENT: [&str; 19] = [
    "(none)",
    "<none>",
    "disabled",
    "empty",
    "expired",
    "invalid",
    "malformed",
    "missing",
    "nil",
    "none",
    "not configured",
    "not found",
    "not given",
    "not present",
    "not set",
    "notpresent",
    "null",
    "required",
    "unset",
];

/// How a sentence goes on of which the name of a secret is the subject.
const VERDICTS: [&str; 19] = [
    "must be ",
    "must not ",
    "is required",
    "is missing",
    "is empty",
    "is not set",
    "is invalid",
    "has expired",
    "cannot be ",
    "connection refused",
    "environment variable not found",
    "file not found",
    "is a directory",
    "mismatched types",
    "no such file or directory",
    "permission denied",
    "the provided token ",
    "timed out",
    "unsupported ",
];

/// Behind one of these a number says how long ago, or where.
const MEASURES: [&str; 4] = ["expired ", "line ", "at line ", "http "];

/// What a switch is set to.
const SWITCHES: [&str; 6] = ["false", "no", "off", "on", "true", "yes"];

/// `required` in `AUTH required`: English, with or without a sign behind it.
pub(super) fn is_said(word: &str) -> bool {
    let word = word.trim_end_matches([':', '.', ',', ';', '!']);
    SAID.iter().any(|said| word.eq_ignore_ascii_case(said))
}

/// `not set` in `password: not set`.
pub(super) fn says_there_is_none(value: &str) -> bool {
    let value = value.trim().trim_end_matches(['.', ',', '!']);
    let value = value.to_ascii_lowercase();
    let counts = |measure: &&str| {
        let number = value.strip_prefix(*measure);
        number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
    };
    ABSENT.contains(&value.as_str())
        || VERDICTS.iter().any(|verdict| value.starts_with(verdict))
        || MEASURES.iter().any(counts)
}

/// `off` in `auth=off`.
pub(super) fn is_a_switch(value: &str) -> bool {
    SWITCHES
        .iter()
        .any(|switch| value.eq_ignore_ascii_case(switch))
}

/// `$1`, `?` and `%s`, for which a database gets the value beside the statement.
pub(super) fn is_a_placeholder(value: &str) -> bool {
    let rest = match value.strip_prefix('$') {
        Some(number) if number.starts_with(|c: char| c.is_ascii_digit()) => {
            number.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        Some(_) => return false,
        None => match value.strip_prefix('?').or(value.strip_prefix("%s")) {
            Some(rest) => rest,
            None => return false,
        },
    };
    rest.is_empty() || rest.starts_with([' ', ',', ')', ';', '"', '\n'])
}

/// `No such file`: more than one word, and the first of letters alone.
pub(super) fn is_a_sentence(value: &str) -> bool {
    let first = value.split_whitespace().next().unwrap_or_default();
    first.len() < value.trim().len() && first.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Letters and digits, as nobody names a file or a port: `-a file` and `-p 5432` are something else.
pub(super) fn looks_like_one(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', '`']);
    value.len() >= 5 && is_mixed(value) && !value.contains(['/', '.', '-', '_', '=', ':', '(', '['])
}

/// What a machine has made up, and no name of a thing with a number behind it.
pub(super) fn looks_made_up(value: &str) -> bool {
    let value = value.trim_matches(['"', '\'', '`']);
    let has = |is: fn(&u8) -> bool| value.bytes().any(|byte| is(&byte));
    let both = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && is_mixed(value);
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"+/=".contains(&c);
    match value.bytes().all(plain) {
        true => value.len() >= 8 && both || value.len() >= 16 && is_mixed(value),
        false => {
            let parts = |c: u8| plain(c) || b"-_".contains(&c);
            value.len() >= 20 && both && value.bytes().all(parts)
        }
    }
}

fn is_mixed(value: &str) -> bool {
    let has = |is: fn(&u8) -> bool| value.bytes().any(|byte| is(&byte));
    has(u8::is_ascii_alphabetic) && has(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::{is_a_sentence, is_said, looks_like_one, looks_made_up, says_there_is_none};

    #[test]
    fn a_sentence_is_told_from_a_secret() {
        for value in [
            "not set",
            "None",
            "Missing.",
            "must be longer than 8",
            "(none)",
        ] {
            assert!(says_there_is_none(value), "{value}");
        }
        for value in ["not a set", "nonesuch", "missing link", "is it", "must"] {
            assert!(!says_there_is_none(value), "{value}");
        }
        assert!(is_said("failed:") && is_said("Required") && !is_said("hunter"));
        assert!(
            is_a_sentence("No such file") && !is_a_sentence("hunter") && !is_a_sentence("h2 x")
        );
    }

    #[test]
    fn what_a_machine_made_up_is_told_from_the_name_of_a_thing() {
        for value in [
            "Hunter2xQ9",
            "'Hunter2xQ9'",
            "9f86d081884c7d659a2f",
            "aZ09-aZ09_aZ09-aZ09_aZ09",
        ] {
            assert!(looks_made_up(value), "{value}");
        }
        for value in [
            "users:42",
            "users42",
            "orders.42",
            "user_42_profile",
            "eu-west-1",
            "HUNTER2X",
            "6f1ed002-ab12-4cde-9f00-1234567890ab",
            "value",
        ] {
            assert!(!looks_made_up(value), "{value}");
        }
        assert!(looks_like_one("hunt2") && !looks_like_one("5432") && !looks_like_one("a.b2c"));
    }
}
