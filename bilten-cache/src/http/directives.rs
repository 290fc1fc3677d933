//! `Cache-Control` of both sides, as lenient in reading and as strict in meaning as RFC 9111 asks. Pure.

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

/// What a number that is too large counts as: 2^31 seconds, as RFC 9111 1.2.2 says.
const MANY: u64 = 1 << 31;

/// What a response says about being stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ResponseDirectives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    /// `must-revalidate` or, because many share this cache, `proxy-revalidate`.
    pub(super) must_revalidate: bool,
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
}

/// What a request asks of a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RequestDirectives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    /// How long after its end a response will do.
    pub(super) max_stale: Option<u64>,
}

impl ResponseDirectives {
    /// What cannot be read as a number of seconds counts as none at all, and of two that disagree the shorter counts: in
    /// doubt a response is not reused.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        for_each(headers, |name, value| {
            let shorter = |there: Option<u64>| {
                let seconds = seconds(value).unwrap_or(0);
                Some(there.map_or(seconds, |there| there.min(seconds)))
            };
            match name {
                // Unreadable text may say anything, so it says the strictest.
                Name::Unreadable | Name::Is("no-store") => all.no_store = true,
                // The forms with a list of fields forbid less; like most caches we take them as the plain ones.
                Name::Is("no-cache") => all.no_cache = true,
                Name::Is("private") => all.private = true,
                Name::Is("public") => all.public = true,
                Name::Is("must-revalidate" | "proxy-revalidate") => all.must_revalidate = true,
                Name::Is("max-age") => all.max_age = shorter(all.max_age),
                Name::Is("s-maxage") => all.s_maxage = shorter(all.s_maxage),
                Name::Is("stale-while-revalidate") => {
                    all.stale_while_revalidate = shorter(all.stale_while_revalidate);
                }
                Name::Is("stale-if-error") => all.stale_if_error = shorter(all.stale_if_error),
                Name::Is(_) => {}
            }
        });
        all
    }
}

impl RequestDirectives {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        for_each(headers, |name, value| match name {
            Name::Is("no-store") => all.no_store = true,
            Name::Is("no-cache") => all.no_cache = true,
            Name::Is("only-if-cached") => all.only_if_cached = true,
            Name::Is("max-age") => {
                let limit = seconds(value).unwrap_or(0);
                all.max_age = Some(all.max_age.map_or(limit, |there| there.min(limit)));
            }
            Name::Is("min-fresh") => {
                let least = seconds(value);
                all.min_fresh = all.min_fresh.max(least);
            }
            // Without a number any age will do.
            Name::Is("max-stale") => {
                all.max_stale = value.map_or(Some(MANY), |_| seconds(value));
            }
            Name::Is(_) | Name::Unreadable => {}
        });
        let pragma = || headers.get_all(PRAGMA).iter();
        if !headers.contains_key(CACHE_CONTROL)
            && pragma().any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache"))
        {
            all.no_cache = true;
        }
        all
    }
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Is(&'a str),
    Unreadable,
}

/// All directives of all `Cache-Control` lines, their names in lower case.
fn for_each(headers: &HeaderMap, mut take: impl FnMut(Name<'_>, Option<&str>)) {
    for line in headers.get_all(CACHE_CONTROL) {
        let Ok(line) = line.to_str() else {
            take(Name::Unreadable, None);
            continue;
        };
        // Whatever stands behind a quote that nobody closes may be a directive.
        if is_open(line) {
            take(Name::Unreadable, None);
        }
        for directive in split(line) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name, Some(value.trim().trim_matches('"').trim())),
                None => (directive, None),
            };
            let name = name.trim().to_ascii_lowercase();
            // `no-store; private` is none of them and means one.
            let is_one = name.is_empty() || HeaderName::try_from(name.as_str()).is_ok();
            let said = match is_one {
                true => Name::Is(&name),
                false => Name::Unreadable,
            };
            take(said, value);
        }
    }
}

/// The parts between commas that stand outside of quotes.
pub(super) fn split(line: &str) -> impl Iterator<Item = &str> {
    let mut within = quotes();
    line.split(move |c| !within(c) && c == ',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Whether a quote is opened that nobody closes.
fn is_open(line: &str) -> bool {
    let mut within = quotes();
    line.chars().fold(false, |_, c| within(c))
}

/// Says of each character in turn whether what follows it is quoted.
fn quotes() -> impl FnMut(char) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        quoted
    }
}

fn seconds(value: Option<&str>) -> Option<u64> {
    let digits = value.filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))?;
    // Only digits, so it can fail in one way.
    Some(
        digits
            .parse()
            .map_or(MANY, |seconds: u64| seconds.min(MANY)),
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let line = |line: &&str| (CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        lines.iter().map(line).collect()
    }

    fn response(lines: &[&str]) -> ResponseDirectives {
        ResponseDirectives::of(&headers(lines))
    }

    #[test]
    fn each_directive_of_a_response_is_read() {
        let all = response(&[
            "Public, MAX-AGE=60 , s-maxage=\"30\"",
            "stale-while-revalidate=5,stale-if-error=6,proxy-revalidate,no-cache=\"set-cookie, x\",unknown=7",
        ]);
        let expected = ResponseDirectives {
            no_cache: true,
            public: true,
            must_revalidate: true,
            max_age: Some(60),
            s_maxage: Some(30),
            stale_while_revalidate: Some(5),
            stale_if_error: Some(6),
            ..ResponseDirectives::default()
        };
        assert_eq!(all, expected);
        assert!(response(&["private=\"x\""]).private && response(&[",,no-store"]).no_store);
        assert_eq!(response(&["", ",", "="]), ResponseDirectives::default());
    }

    #[test]
    fn a_comma_inside_quotes_ends_no_directive() {
        let all = response(&["x=\"a, no-store, \\\" max-age=1\", max-age=9"]);
        assert_eq!((all.no_store, all.max_age), (false, Some(9)));
        let open = response(&["max-age=9, x=\"a, private"]);
        assert!(open.no_store, "what stands behind the quote may mean it");
        assert!(!response(&["max-age=9, x=\"a\\\"b\""]).no_store);
    }

    #[test]
    fn what_is_no_directive_may_mean_one() {
        for line in [
            "no-store; private",
            "private; max-age=9",
            "max-age=9, no store",
            "<private>",
        ] {
            assert!(response(&[line]).no_store, "{line}");
        }
        let told = response(&["max-age=9, x-own=<1>, Ext.1"]);
        assert_eq!((told.no_store, told.max_age), (false, Some(9)));
    }

    #[test]
    fn what_is_malformed_or_contradictory_means_the_shorter_time() {
        for (lines, seconds) in [
            (&["max-age=60, max-age=10"][..], 10),
            (&["max-age=10", "max-age=60"], 10),
            (&["max-age=-1"], 0),
            (&["max-age=1.5"], 0),
            (&["max-age"], 0),
            (&["max-age="], 0),
            (&["max-age=\u{20}+5"], 0),
            (&["max-age=99999999999999999999999"], MANY),
        ] {
            assert_eq!(response(lines).max_age, Some(seconds), "{lines:?}");
        }
        let mut unreadable = HeaderMap::new();
        unreadable.insert(
            CACHE_CONTROL,
            HeaderValue::from_bytes(b"max-age=9\xff").unwrap(),
        );
        assert!(ResponseDirectives::of(&unreadable).no_store);
    }

    #[test]
    fn each_directive_of_a_request_is_read() {
        let of = |line| RequestDirectives::of(&headers(&[line]));
        let all = of("no-cache, no-store, only-if-cached, max-age=7, min-fresh=3, max-stale=9");
        assert!(all.no_cache && all.no_store && all.only_if_cached);
        assert_eq!(
            (all.max_age, all.min_fresh, all.max_stale),
            (Some(7), Some(3), Some(9))
        );
        assert_eq!(of("max-stale").max_stale, Some(MANY));
        assert_eq!(of("max-stale=x").max_stale, None);
        assert_eq!(of("min-fresh=-3").min_fresh, None);

        let mut old = HeaderMap::new();
        old.insert(PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(RequestDirectives::of(&old).no_cache);
        old.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!RequestDirectives::of(&old).no_cache);
    }
}
