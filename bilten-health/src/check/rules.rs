//! What no name and no duration may be.

use crate::error::BuildError;
use crate::redact::redact;
use std::time::Duration;

/// No setting may be longer; longer ones are mistakes for "never".
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A timer knows nothing shorter: as a limit nothing could keep it, as an interval it would never rest.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// A group's name is also the end of its path: it may not be several segments, nor one that clients take away.
pub(crate) fn valid_group(name: &str) -> Result<(), BuildError> {
    valid_name("group", name)?;
    let problem = match name {
        "." | ".." => "means another path",
        _ if name.contains('/') => "has a slash in it",
        _ => return Ok(()),
    };
    Err(BuildError::InvalidName {
        kind: "group",
        name: name.to_owned(),
        problem,
        allowed: allowed("group"),
    })
}

/// What a name may be made of.
fn allowed(kind: &str) -> &'static str {
    match kind {
        "group" => "1 to 64 of the characters A-Z a-z 0-9 - _ . :",
        _ => "1 to 64 of the characters A-Z a-z 0-9 - _ . : /",
    }
}

/// Refuses a name that could break a log line, a metric label, a page or a URL.
pub(super) fn valid_name(kind: &'static str, name: &str) -> Result<(), BuildError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    let problem = match name {
        "" => "is empty",
        _ if name.len() > 64 => "is longer than 64 characters",
        _ if !name.chars().all(plain) => "has characters that do not belong into a name",
        _ => return Ok(()),
    };
    Err(BuildError::InvalidName {
        kind,
        name: presentable(name),
        problem,
        allowed: allowed(kind),
    })
}

/// A name nobody has looked at yet, fit for a message: it may be a URL that was meant for another argument, or have no end.
pub(crate) fn presentable(name: &str) -> String {
    let escaped: String = name
        .chars()
        .take(1024)
        .flat_map(char::escape_debug)
        .collect();
    redact(&escaped).chars().take(64).collect()
}

/// A target for a message. What stands in the place of a port and is no number may be a password: `https://user:x/`.
#[cfg(any(feature = "net", feature = "disk"))]
pub(super) fn shown_target(target: &str) -> String {
    let masked = redact(target);
    let start = masked.find("://").map_or(0, |at| at + 3);
    let end = masked[start..].find(['/', '?', '#']);
    let end = end.map_or(masked.len(), |at| start + at);
    let authority = &masked[start..end];
    let port = authority.rfind(':').map_or("", |at| &authority[at + 1..]);
    let number = |c: char| c.is_ascii_digit() || "+-".contains(c);
    match port.chars().all(number) || authority.ends_with(']') {
        true => masked,
        false => format!("{}***{}", &masked[..end - port.len()], &masked[end..]),
    }
}

pub(crate) fn not_too_short(
    setting: &'static str,
    of: impl Fn() -> String,
    value: Option<Duration>,
) -> Result<(), BuildError> {
    match value {
        Some(value) if value < SHORTEST => Err(BuildError::TooShort {
            setting,
            of: of(),
            value,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn not_too_long(
    setting: &'static str,
    of: impl Fn() -> String,
    value: Option<Duration>,
) -> Result<(), BuildError> {
    match value {
        Some(value) if value > LONGEST => Err(BuildError::TooLong {
            setting,
            of: of(),
            value,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::presentable;

    #[cfg(any(feature = "net", feature = "disk"))]
    #[test]
    fn what_stands_in_the_place_of_a_port_is_not_shown() {
        for (target, shown) in [
            ("https://h:S3cr3tXyz/", "https://h:***/"),
            ("h:S3cr3tXyz", "h:***"),
            ("http://h:65536/a:b", "http://h:65536/a:b"),
            ("h:+80", "h:+80"),
            ("http://[::1]/", "http://[::1]/"),
            ("/var/a:b", "/var/a:b"),
            ("db.internal", "db.internal"),
        ] {
            assert_eq!(super::shown_target(target), shown);
        }
    }

    #[test]
    fn a_name_is_shown_escaped_short_and_without_credentials() {
        for (name, shown) in [
            ("a b", "a b"),
            ("a\nb", r"a\nb"),
            ("postgres://app:hunter2@db/shop", "postgres://***@db/shop"),
            ("app:hunter2@db", "***@db"),
            ("password=hunter2", "password=***"),
        ] {
            assert_eq!(presentable(name), shown, "{name}");
        }
        let long = format!("postgres://app:{}@db/shop", "hunter2".repeat(20));
        assert_eq!(presentable(&long), "postgres://***@db/shop");
        assert_eq!(presentable(&"x".repeat(1 << 20)), "x".repeat(64));
    }
}
