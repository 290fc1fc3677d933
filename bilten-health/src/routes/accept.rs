//! Which format a request asks for: pure.

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/json`: what nobody or anybody asks for.
    Json,
    /// `application/health+json`, the IETF draft `draft-inadarei-api-health-check-06`.
    HealthJson,
    /// `text/plain`: one line, or one per check.
    Plain,
    /// `text/html`: a page for people.
    Page,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::HealthJson => "application/health+json",
            Self::Plain => "text/plain; charset=utf-8",
            Self::Page => "text/html; charset=utf-8",
        }
    }
}

/// The wanted format: the highest `q`, the first among equals; JSON when nothing fits, because a probe is never refused.
pub(super) fn negotiate(accept: &str) -> Format {
    let mut best = (0, Format::Json);
    for range in accept.split(',').take(32) {
        let mut parts = range.split(';').map(str::trim);
        let Some(format) = parts.next().and_then(format) else {
            continue;
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(1000, thousandths);
        if quality > best.0 {
            best = (quality, format);
        }
    }
    best.1
}

fn format(range: &str) -> Option<Format> {
    match range.to_ascii_lowercase().as_str() {
        "application/health+json" => Some(Format::HealthJson),
        "application/json" | "application/*" | "*/*" => Some(Format::Json),
        "text/html" => Some(Format::Page),
        "text/plain" | "text/*" => Some(Format::Plain),
        _ => None,
    }
}

fn thousandths(quality: &str) -> u16 {
    let quality = quality.trim().parse::<f32>().unwrap_or(0.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

#[cfg(test)]
mod tests {
    use super::Format::{HealthJson, Json, Page, Plain};
    use super::negotiate;

    #[test]
    fn every_accept_header_gets_a_format() {
        let table = [
            ("", Json),
            ("*/*", Json),
            ("application/health+json", HealthJson),
            ("Application/Health+JSON", HealthJson),
            ("text/plain", Plain),
            ("text/plain;q=0.5, application/json", Json),
            ("text/plain;q=0.5, application/json;q=0.4", Plain),
            ("image/png", Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Page,
            ),
            ("text/plain;q=0", Json),
            ("text/plain;q=NaN", Json),
            (",,;;q=,=", Json),
        ];
        for (accept, expected) in table {
            assert_eq!(negotiate(accept), expected, "{accept}");
        }
    }
}
