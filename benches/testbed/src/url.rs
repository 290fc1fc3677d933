//! The few things this crate needs to know about server URLs.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::Error;

/// A URL taken apart; the parts between keep their percent signs so that it can be put together unchanged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ServerUrl {
    scheme: String,
    credentials: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
}

impl ServerUrl {
    /// # Errors
    /// Names the setting, never the URL: it may hold a password.
    pub(crate) fn parse(name: &str, url: &str) -> Result<Self, Error> {
        let wrong = |problem: &str| {
            Error::setting(
                name,
                format!("{problem}; expected scheme://user:password@host:port/name"),
            )
        };
        let (scheme, rest) = url
            .trim()
            .split_once("://")
            .ok_or_else(|| wrong("no :// in it"))?;
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(rest, query)| (rest, Some(query.to_owned())));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, place) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(who, place)| {
                (Some(who.to_owned()), place)
            });
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                Some(
                    port.parse()
                        .map_err(|_| wrong("the port is no number from 0 to 65535"))?,
                ),
            ),
            _ => (place, None),
        };
        if host.is_empty() {
            return Err(wrong("no host in it"));
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            credentials,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            query,
        })
    }

    pub(crate) fn local(scheme: &str, user: &str, port: u16, path: &str) -> Self {
        let (credentials, host, path) = (Some(encode(user)), "127.0.0.1".to_owned(), encode(path));
        Self {
            scheme: scheme.to_owned(),
            credentials,
            host,
            port: Some(port),
            path,
            query: None,
        }
    }

    pub(crate) fn with_path(&self, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..self.clone()
        }
    }

    #[cfg_attr(
        not(feature = "proxy"),
        allow(dead_code, reason = "only the proxy moves a URL")
    )]
    pub(crate) fn with_address(&self, address: SocketAddr) -> Self {
        let host = if address.is_ipv6() {
            format!("[{}]", address.ip())
        } else {
            address.ip().to_string()
        };
        Self {
            host,
            port: Some(address.port()),
            ..self.clone()
        }
    }

    pub(crate) fn with_user(&self, user: &str, password: &str) -> Self {
        Self {
            credentials: Some(format!("{}:{}", encode(user), encode(password))),
            ..self.clone()
        }
    }

    pub(crate) fn text(&self) -> String {
        let credentials = self
            .credentials
            .as_ref()
            .map(|who| format!("{who}@"))
            .unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let path = if self.path.is_empty() {
            String::new()
        } else {
            format!("/{}", self.path)
        };
        let query = self
            .query
            .as_ref()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        format!(
            "{}://{credentials}{}{port}{path}{query}",
            self.scheme, self.host
        )
    }

    pub(crate) fn path(&self) -> String {
        decode(&self.path)
    }

    pub(crate) fn user(&self) -> Option<String> {
        let user = self.credentials.as_ref()?.split(':').next()?;
        (!user.is_empty()).then(|| decode(user))
    }

    pub(crate) fn password(&self) -> Option<String> {
        Some(decode(self.credentials.as_ref()?.split_once(':')?.1))
    }

    /// Host and port as they stand, without credentials: safe to show.
    pub(crate) fn place(&self, default_port: u16) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(default_port))
    }

    pub(crate) fn resolve(&self, default_port: u16) -> Result<SocketAddr, Error> {
        let place = self.place(default_port);
        place
            .to_socket_addrs()
            .map_err(|e| Error::io(format!("find the address of {place}"), e))?
            .next()
            .ok_or_else(|| Error::setting(place.clone(), "the name has no address"))
    }
}

/// Percent-encodes everything but letters, digits, `-`, `_`, `.` and `~`.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match escaped {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_put_together_as_it_was() {
        for url in [
            "redis://127.0.0.1:6379",
            "redis://:p%40ss@127.0.0.1:6379/2",
            "postgres://me:secret@[::1]:5432/name?sslmode=disable",
            "rediss://user:pw@localhost:6380",
        ] {
            assert_eq!(ServerUrl::parse("X", url).unwrap().text(), url);
        }
    }

    #[test]
    fn the_address_changes_and_the_rest_stays() {
        let url = ServerUrl::parse("X", "postgres://me:a%2Fb@db.example:5432/name").unwrap();
        assert_eq!(
            url.with_address(([127, 0, 0, 1], 7).into()).text(),
            "postgres://me:a%2Fb@127.0.0.1:7/name"
        );
        assert_eq!(
            url.with_path("other").text(),
            "postgres://me:a%2Fb@db.example:5432/other"
        );
        assert_eq!(url.password().as_deref(), Some("a/b"));
        assert_eq!(
            url.with_user("a b", "ü:@").text(),
            "postgres://a%20b:%C3%BC%3A%40@db.example:5432/name"
        );
    }

    #[test]
    fn a_wrong_url_names_the_setting_and_not_the_password() {
        for url in [
            "127.0.0.1:6379",
            "redis://:secret@:1",
            "redis://u:secret@host:notaport",
        ] {
            let error = ServerUrl::parse("BILTEN_TEST_REDIS_URL", url)
                .err()
                .unwrap()
                .to_string();
            assert!(error.starts_with("BILTEN_TEST_REDIS_URL: "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
