//! Which format a request asks for, after RFC 9110, section 12.5.1: pure.

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

/// All of them; of two that are wanted alike, the first.
const FORMATS: [Format; 4] = [
    Format::Json,
    Format::HealthJson,
    Format::Plain,
    Format::Page,
];

/// More than anybody means.
const MOST_RANGES: usize = 64;

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::HealthJson => "application/health+json",
            Self::Plain => "text/plain; charset=utf-8",
            Self::Page => "text/html; charset=utf-8",
        }
    }

    const fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::Json => ("application", "json"),
            Self::HealthJson => ("application", "health+json"),
            Self::Plain => ("text", "plain"),
            Self::Page => ("text", "html"),
        }
    }
}

/// The wanted format, from all `Accept` lines: the one with the highest weight. Among equals, one that is asked for by name comes
/// before one that only a `*` allows, and then the first named.
///
/// The weight of a format is that of the most exact range it fits, so `q=0` excludes it whatever else is allowed. JSON when nothing
/// is acceptable, because a probe is never refused.
pub(super) fn negotiate<'a>(accept: impl Iterator<Item = &'a str>) -> Format {
    let ranges: Vec<_> = accept
        .flat_map(|line| split(line, ','))
        .take(MOST_RANGES)
        .filter_map(Range::parse)
        .collect();
    let mut best = (Wish::default(), Format::Json);
    for format in FORMATS {
        let wish = wish(&ranges, format);
        if wish > best.0 {
            best = (wish, format);
        }
    }
    best.1
}

/// How much a format is wanted; the greater, the more.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
struct Wish {
    thousandths: u16,
    exact: u8,
    /// How many ranges come later.
    early: usize,
}

/// None at all when nothing allows the format, or the most exact range forbids it.
fn wish(ranges: &[Range<'_>], format: Format) -> Wish {
    let fitting = ranges.iter().enumerate();
    let fitting = fitting.filter_map(|(at, range)| Some((range.exactness(format)?, at, range)));
    // Of two ranges that are equally exact, the first counts.
    let closest = fitting.max_by_key(|&(exact, at, _)| (exact, usize::MAX - at));
    match closest {
        Some((exact, at, range)) if range.thousandths > 0 => Wish {
            thousandths: range.thousandths,
            exact,
            early: ranges.len() - at,
        },
        _ => Wish::default(),
    }
}

/// One of the alternatives of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Whether it has parameters that the answers do not have.
    foreign: bool,
    parameters: u8,
    thousandths: u16,
}

impl<'a> Range<'a> {
    /// None for what is no media range, or has a weight that is none.
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split(text, ';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let mut range = Self {
            kind,
            subtype,
            foreign: false,
            parameters: 0,
            thousandths: 1000,
        };
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if name.eq_ignore_ascii_case("q") {
                range.thousandths = thousandths(value)?;
                // What comes behind the weight is an extension that nobody has ever defined.
                break;
            }
            // Each of the answers is UTF-8, said or not.
            range.foreign |= !name.eq_ignore_ascii_case("charset")
                || !value.trim_matches('"').eq_ignore_ascii_case("utf-8");
            range.parameters = 1;
        }
        Some(range)
    }

    /// How exactly it says `format`; none when it does not fit.
    fn exactness(&self, format: Format) -> Option<u8> {
        let (kind, subtype) = format.media_type();
        let fits = |range: &str, own| range == "*" || range.eq_ignore_ascii_case(own);
        let fits = fits(self.kind, kind) && fits(self.subtype, subtype) && !self.foreign;
        match (self.kind, self.subtype) {
            _ if !fits => None,
            ("*", "*") => Some(0),
            ("*", _) => None,
            (_, "*") => Some(1),
            _ => Some(2 + self.parameters),
        }
    }
}

/// `0`, `0.5`, `1.000`: up to three digits, in thousandths.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, rest) = weight.split_once('.').unwrap_or((weight, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = rest.bytes().chain(*b"000").take(3);
    let rest = digits.fold(0, |sum, digit| 10 * sum + u16::from(digit - b'0'));
    match (whole, rest) {
        ("0", _) => Some(rest),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// At each `separator` that is not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let literal = escaped;
        escaped = quoted && !literal && c == '\\';
        quoted ^= c == '"' && !literal;
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::Format::{HealthJson, Json, Page, Plain};
    use super::{negotiate, thousandths};

    #[test]
    fn every_accept_header_gets_a_format() {
        let table = [
            ("", Json),
            ("*/*", Json),
            ("application/health+json", HealthJson),
            ("Application/Health+JSON", HealthJson),
            ("text/plain", Plain),
            ("text/plain, application/json", Plain),
            ("text/plain;q=0.5, application/json", Json),
            ("text/plain;q=0.5, application/json;q=0.4", Plain),
            ("image/png", Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Page,
            ),
            ("text/*", Plain),
            ("application/*", Json),
            ("*/plain", Json),
            ("text/plain;q=0", Json),
            ("text/plain;q=NaN", Json),
            (",,;;q=,=", Json),
        ];
        for (accept, expected) in table {
            assert_eq!(negotiate([accept].into_iter()), expected, "{accept}");
        }
    }

    #[test]
    fn the_most_exact_range_decides_about_a_format() {
        let table = [
            ("*/*, application/json;q=0", HealthJson),
            ("application/json;q=0, */*;q=0.1", HealthJson),
            ("application/*;q=0, */*", Plain),
            ("text/*;q=0.9, text/plain;q=0.1, text/html;q=0.2", Page),
            ("text/plain;q=0.2, text/*;q=0.3, */*;q=0.1", Page),
            ("*/*, application/health+json;q=0.9", Json),
            ("*/*;q=0.9, application/health+json;q=0.9", HealthJson),
            ("text/*, text/html", Page),
            // Nothing is acceptable: the header is as good as none.
            ("*/*;q=0", Json),
            ("application/json;q=0", Json),
            ("application/json;q=0, image/png", Json),
        ];
        for (accept, expected) in table {
            assert_eq!(negotiate([accept].into_iter()), expected, "{accept}");
        }
    }

    #[test]
    fn parameters_have_to_fit_and_may_be_quoted() {
        let table = [
            ("text/plain; charset=utf-8", Plain),
            (
                "TEXT/PLAIN ;CHARSET=\"UTF-8\" ; Q=0.4, text/html;q=0.3",
                Plain,
            ),
            ("text/plain;format=flowed, text/html;q=0.1", Page),
            (
                "text/plain;charset=utf-8;q=0.2, text/plain;q=0.9, text/html;q=0.5",
                Page,
            ),
            (r#"image/png;a="x,text/plain;q=1", text/html"#, Page),
            (r#"image/png;a="\",text/plain,", text/html"#, Page),
            ("text/plain;q=0.5;q=0.9, text/html;q=0.6", Page),
        ];
        for (accept, expected) in table {
            assert_eq!(negotiate([accept].into_iter()), expected, "{accept}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let lines = ["application/json;q=0.1", "text/plain;q=0.2"];
        assert_eq!(negotiate(lines.into_iter()), Plain);
        let endless = "image/png,".repeat(100_000);
        assert_eq!(negotiate([&*endless, "text/plain"].into_iter()), Json);
    }

    #[test]
    fn a_weight_has_at_most_three_digits_and_is_at_most_one() {
        for (weight, expected) in [
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.005", Some(5)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.0001", None),
            ("2", None),
            ("-1", None),
            (".5", None),
            ("0.+1", None),
            ("", None),
        ] {
            assert_eq!(thousandths(weight), expected, "{weight}");
        }
    }
}
