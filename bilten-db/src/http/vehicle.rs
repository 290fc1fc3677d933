//! How a sealed token travels: in a cookie or in a header.

use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Error;

#[derive(Debug, Clone)]
pub(super) enum Vehicle {
    Cookie(Cookie),
    Header(HeaderName),
}

#[derive(Debug, Clone)]
pub(super) struct Cookie {
    name: String,
    pub(super) secure: bool,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "bilten-seen".to_owned(),
            secure: true,
        }
    }
}

impl Cookie {
    pub(super) fn named(name: String, secure: bool) -> Result<Self, Error> {
        // A token in the sense of RFC 9110, as RFC 6265 asks.
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::invalid(
                "cookie name",
                "is not one that a cookie can have",
                "use letters, digits, `-` and `_`",
            ));
        }
        Ok(Self { name, secure })
    }

    /// By bytes: other cookies of the same line may hold what is no ASCII, as browsers send it.
    fn value_in<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let lines = headers.get_all(COOKIE).iter();
        lines
            .flat_map(|line| line.as_bytes().split(|b| *b == b';'))
            .filter_map(|pair| pair.trim_ascii().strip_prefix(self.name.as_bytes()))
            .find_map(|rest| rest.trim_ascii_start().strip_prefix(b"="))
            .map(<[u8]>::trim_ascii)
    }
}

impl Vehicle {
    /// The sealed token of a request; the first when there are several. Bytes that are no text are given as the empty text,
    /// which no key opens: so the primary answers.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let value = match self {
            Self::Header(name) => headers.get(name)?.as_bytes(),
            Self::Cookie(cookie) => cookie.value_in(headers)?,
        };
        Some(str::from_utf8(value).unwrap_or_default())
    }

    /// `None` when the token has characters that no header can carry.
    pub(super) fn write(&self, sealed: &str, ttl: Duration) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Header(name) => Some((name.clone(), HeaderValue::from_str(sealed).ok()?)),
            Self::Cookie(Cookie { name, secure }) => {
                let secure = if *secure { "; Secure" } else { "" };
                let seconds = ttl.as_secs();
                let line = format!(
                    "{name}={sealed}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
                );
                Some((SET_COOKIE, HeaderValue::from_str(&line).ok()?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let vehicle = Vehicle::Cookie(Cookie::default());
        let table: [(&[&str], Option<&str>); 10] = [
            (&[], None),
            (&["bilten-seen=a"], Some("a")),
            (&["x=1; bilten-seen=a; y=2"], Some("a")),
            (&["x=1", "y=2;bilten-seen=a"], Some("a")),
            (&["bilten-seen=a; bilten-seen=b"], Some("a")),
            (&["xbilten-seen=a; bilten-seen"], None),
            (&["bilten-seen="], Some("")),
            (&["city=K\u{f6}ln; bilten-seen=a"], Some("a")),
            (&["bilten-seen2=x; bilten-seen=a"], Some("a")),
            (&["  bilten-seen = a ; y=2"], Some("a")),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(vehicle.read(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_token_that_is_no_text_is_a_token_that_opens_nothing() {
        let bytes = |text: &[u8]| HeaderValue::from_bytes(text).unwrap();
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, bytes(b"bilten-seen=\xf6"));
        headers.append("x-seen", bytes(b"\xf6"));
        let header = Vehicle::Header(HeaderName::from_static("x-seen"));
        for vehicle in [Vehicle::Cookie(Cookie::default()), header] {
            assert_eq!(vehicle.read(&headers), Some(""), "{vehicle:?}");
        }
    }

    #[test]
    fn a_cookie_says_for_how_long_and_whom() {
        let ttl = Duration::from_secs(300);
        let plain = Vehicle::Cookie(Cookie::named("seen".into(), false).unwrap());
        let (name, value) = plain.write("1-a.2.3", ttl).unwrap();
        assert_eq!(name, SET_COOKIE);
        assert_eq!(
            value,
            "seen=1-a.2.3; Path=/; Max-Age=300; HttpOnly; SameSite=Lax"
        );
        let (_, value) = Vehicle::Cookie(Cookie::default()).write("1", ttl).unwrap();
        assert!(value.to_str().unwrap().ends_with("; Secure"));
        assert!(plain.write("1\r\nx: y", ttl).is_none());
    }

    #[test]
    fn a_name_that_would_break_the_header_is_refused() {
        for name in ["", "a b", "a;b", "a=b", "ä"] {
            assert!(Cookie::named(name.into(), true).is_err(), "{name}");
        }
    }
}
