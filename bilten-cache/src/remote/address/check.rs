//! What a URL must not have in it, because it would mean something else than it seems to. No message quotes user name, password or
//! the value of a parameter.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::Error;

pub(super) const EXAMPLE: &str = "write for example `redis://127.0.0.1:6379/0`";
const SCHEMES: &str = "redis, redis-cluster, redis-sentinel, redis+unix, rediss and so on with TLS (or valkey instead of redis)";

fn wrong<T>(problem: String, remedy: &'static str) -> Result<T, Error> {
    Err(Error::config("redis.url", problem, remedy))
}

/// The scheme with `redis` in it and whether it asks for TLS, when it is one of ours and the user information has no raw
/// special characters.
pub(super) fn scheme(text: &str, shown: &str) -> Result<(String, bool), Error> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("it has no `scheme://`".to_owned(), EXAMPLE);
    };
    let plain = scheme.replacen("valkey", "redis", 1);
    let secure = plain.starts_with("rediss");
    let plain = plain.replacen("rediss", "redis", 1);
    if !["redis", "redis-cluster", "redis-sentinel", "redis+unix"].contains(&&*plain)
        || secure && plain == "redis+unix"
    {
        return wrong(
            format!("scheme `{scheme}` of `{shown}` is not one of {SCHEMES}"),
            EXAMPLE,
        );
    }
    let at = rest.rfind('@').unwrap_or(0);
    if rest[..at].contains(['/', '#', '?']) {
        return wrong(
            format!("the user name or password in `{shown}` has special characters"),
            "percent-encode them (`/` is %2F, `#` is %23, `?` is %3F), or use `Redis::password`",
        );
    }
    Ok((plain, secure))
}

/// Whether each `%` begins the code of a byte, and the bytes are text: else a password would not be the one that was meant.
pub(super) fn escapes(text: &str, shown: &str) -> Result<(), Error> {
    let remedy = "write %25 for a percent sign and encode other characters as UTF-8, or use `Redis::password`";
    let is_code = |code: &str| {
        let mut digits = code.bytes().take(2);
        let is_digit = |digit: Option<u8>| digit.is_some_and(|digit| digit.is_ascii_hexdigit());
        is_digit(digits.next()) && is_digit(digits.next())
    };
    if !text.split('%').skip(1).all(is_code) {
        let problem = format!("a `%` in `{shown}` is not followed by two hexadecimal digits");
        return wrong(problem, remedy);
    }
    if percent_decode_str(text).decode_utf8().is_err() {
        let problem = format!("what is percent-encoded in `{shown}` is not UTF-8");
        return wrong(problem, remedy);
    }
    Ok(())
}

/// The parameters that mean something with this scheme.
fn known(scheme: &str) -> (&'static [&'static str], &'static str) {
    match scheme {
        "redis-cluster" => (&["node"], "leave it out; `redis-cluster` takes `node`"),
        "redis-sentinel" => (
            &[
                "node",
                "sentinelServiceName",
                "sentinelUsername",
                "sentinelPassword",
            ],
            "leave it out; `redis-sentinel` takes `node`, `sentinelServiceName`, `sentinelUsername` and `sentinelPassword`",
        ),
        _ => (
            &[],
            "leave it out; the database is the path, as in `redis://127.0.0.1:6379/0`, and everything else a method of `Redis`",
        ),
    }
}

/// A parameter that nobody reads may be a setting that somebody counts on, and what follows a `#` is lost altogether.
pub(super) fn parameters(url: &Url, scheme: &str, shown: &str) -> Result<(), Error> {
    if url.fragment().is_some() {
        let problem = format!("`{shown}` has a `#` in it, and what follows one means nothing");
        return wrong(
            problem,
            "leave it out, or write %23 where it belongs to a name",
        );
    }
    let (names, remedy) = known(scheme);
    let unknown = url
        .query_pairs()
        .find(|(name, _)| !names.contains(&&**name));
    match unknown {
        Some((name, _)) => {
            let problem = format!("{} of `{shown}` means nothing", called(&name));
            wrong(problem, remedy)
        }
        None => Ok(()),
    }
}

/// A parameter by its name, unless that may be the rest of a password.
fn called(name: &str) -> String {
    let names = [
        "db", "database", "timeout", "protocol", "ssl", "tls", "username", "user", "password",
        "node",
    ];
    let lower = name.to_ascii_lowercase();
    if names.contains(&&*lower) || lower.ends_with("timeout") || lower.starts_with("sentinel") {
        format!("the parameter `{name}`")
    } else {
        "a parameter".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Address;

    fn message(url: &str) -> String {
        let message = Address::parse(url).unwrap_err().to_string();
        assert!(message.starts_with("redis.url: "), "{message}");
        message
    }

    #[test]
    fn a_percent_sign_that_encodes_nothing_is_named_with_the_way_to_write_one() {
        for url in [
            "redis://u:sec%zzret@h",
            "redis://u:secret%@h",
            "redis://u:secret%4@h",
            "redis://h%2x",
            "redis-sentinel://h?sentinelServiceName=m&sentinelPassword=secret%",
        ] {
            let message = message(url);
            assert!(message.contains("two hexadecimal digits"), "{message}");
            assert!(message.contains("%25"), "{message}");
            assert!(!message.contains("sec"), "{message}");
        }
        let message = message("redis://u:secret%ff@h");
        assert!(message.contains("is not UTF-8"), "{message}");
    }

    #[test]
    fn a_parameter_that_nobody_reads_is_an_error_that_tells_which_are() {
        for (url, says) in [
            ("redis://h?timeout=1", ["parameter `timeout`", "a method"]),
            ("redis://h/0?db=5", ["parameter `db`", "the path"]),
            ("redis://h?node=b:1", ["parameter `node`", "the path"]),
            ("redis+unix:///a.sock?db=2", ["parameter `db`", "the path"]),
            (
                "redis-cluster://h?node=b:1&connect_timeout=5",
                ["parameter `connect_timeout`", "takes `node`"],
            ),
            (
                "redis-sentinel://h?sentinelServicename=m",
                ["parameter `sentinelServicename`", "`sentinelServiceName`"],
            ),
            ("redis://h?secret=secret", ["a parameter of", "a method"]),
            ("redis://h?secret", ["a parameter of", "a method"]),
            ("redis://h#secret", ["has a `#`", "%23"]),
        ] {
            let message = message(url);
            assert!(says.iter().all(|word| message.contains(word)), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
