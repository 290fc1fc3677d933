//! Durations and sizes as people write them.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A duration with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span(pub(super) Duration);

/// A number of bytes, with or without a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size(pub(super) u64);

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as `30s` or `1h 30m`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        let span = humantime::parse_duration(text.trim());
        let wrong = |_| E::invalid_value(Unexpected::Other(&format!("`{text}`")), &self);
        span.map(Span).map_err(wrong)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(SpanVisitor)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes or a size, such as `64MiB`")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
        Ok(Size(bytes))
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
        let wrong = |_| E::invalid_value(Unexpected::Signed(bytes), &self);
        u64::try_from(bytes).map(Size).map_err(wrong)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        let size: Result<ByteSize, _> = text.trim().parse();
        // Its type goes no further: more than that is read as the largest.
        let size = size.ok().filter(|size| size.as_u64() < u64::MAX);
        let wrong = || E::invalid_value(Unexpected::Other(&format!("`{text}`")), &self);
        size.map(|size| Size(size.as_u64())).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_people_write_them() {
        let span = |text: &str| serde_json::from_str::<Span>(text).ok().map(|span| span.0);
        for (text, seconds) in [(r#""30s""#, 30), (r#"" 5m""#, 300), (r#""1h 30m""#, 5_400)] {
            assert_eq!(span(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "30",
            r#""30""#,
            r#""-5s""#,
            r#""""#,
            r#""99999999999999999999y""#,
            "null",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
        let size = |text: &str| serde_json::from_str::<Size>(text).ok().map(|size| size.0);
        for (text, bytes) in [
            (r#""64MiB""#, 64 << 20),
            (r#""1.5 kB""#, 1_500),
            ("4096", 4_096),
            (r#""4096""#, 4_096),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "-1",
            "1.5",
            r#""64 apples""#,
            r#""-1MiB""#,
            r#""16EiB""#,
            r#""99999999999TiB""#,
            "true",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
