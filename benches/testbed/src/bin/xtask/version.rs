//! Version numbers, as far as `rustc 1.95.0` and `rust-version = "1.94"` need them.

use std::fmt;

/// Major, minor and patch; a missing part is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32, u32);

impl Version {
    /// The first version number in `text`: `rustc 1.95.0-nightly (…)` gives 1.95.0.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        let plain = word.split(['-', '+']).next()?;
        let mut parts = plain.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(Self(major, minor, parts.next().flatten().unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, expected) in [
            ("rustc 1.95.0 (f2d3ce0bd 2026-03-21)", "1.95.0"),
            ("rustc 1.97.0-nightly (abc 2026-05-01)", "1.97.0"),
            ("1.94", "1.94.0"),
            ("v20.11.1 is not read, 20.11.1 is", "20.11.1"),
        ] {
            assert_eq!(
                Version::find(text)
                    .map(|version| version.to_string())
                    .as_deref(),
                Some(expected),
                "{text}"
            );
        }
        assert_eq!(Version::find("no number here"), None);
    }

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(Version::find("1.100") > Version::find("1.94.9"));
        assert!(Version::find("1.94") <= Version::find("1.94.0"));
    }
}
