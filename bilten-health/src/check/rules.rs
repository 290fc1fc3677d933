//! What no name and no duration may be.

use crate::error::BuildError;
use std::time::Duration;

/// No setting may be longer; longer ones are mistakes for "never".
const LONGEST: Duration = Duration::from_secs(24 * 3600);

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
    })
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
    let name = name.chars().take(64).flat_map(char::escape_debug).collect();
    Err(BuildError::InvalidName {
        kind,
        name,
        problem,
    })
}

pub(crate) fn not_zero(
    setting: &'static str,
    of: impl Fn() -> String,
    value: Option<Duration>,
) -> Result<(), BuildError> {
    match value {
        Some(Duration::ZERO) => Err(BuildError::Zero { setting, of: of() }),
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
