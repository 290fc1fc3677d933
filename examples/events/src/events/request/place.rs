//! Where in the list a page begins.

use std::fmt;

use time::OffsetDateTime;

/// By number, which counts from the start, or after an event, which stays put when others come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// From 1.
    Page(u64),
    /// The events that come after this one.
    After(Cursor),
}

/// One event's place in the order of the list: when it begins, and its id among those that begin together.
///
/// Clients hand it back as it came; what it looks like may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// UTC, whole seconds.
    pub start_date: OffsetDateTime,
    /// The event's id.
    pub id: i64,
}

impl Cursor {
    /// The place that this text stands for, if it is one that [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (seconds, id) = text.split_once('-')?;
        let cursor = Self {
            start_date: OffsetDateTime::from_unix_timestamp(seconds.parse().ok()?).ok()?,
            id: id.parse().ok().filter(|id| *id > 0)?,
        };
        // Only its own spelling: `+7` or `07` would be other keys of the cache for the same page.
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start_date.unix_timestamp(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_in_no_other_spelling() {
        let cursor = Cursor::parse("1806000000-42").unwrap();
        assert_eq!(
            (cursor.id, cursor.to_string().as_str()),
            (42, "1806000000-42")
        );
        for wrong in [
            "",
            "-",
            "42",
            "1806000000-",
            "-42",
            "1806000000-042",
            "+1806000000-42",
            "1806000000-0",
            "1806000000--1",
            "99999999999999-1",
            "1806000000-42 ",
            "1806000000-99999999999999999999",
        ] {
            assert_eq!(Cursor::parse(wrong), None, "{wrong:?}");
        }
    }
}
