//! What can be told about an address without a lookup: pure.

use std::net::SocketAddrV6;

/// The longest name that DNS knows, without the dot that may end it.
const LONGEST_NAME: usize = 253;

/// The longest part between two dots.
const LONGEST_PART: usize = 63;

/// What is wrong with a `host:port`.
pub(super) fn address_problem(address: &str) -> Option<&'static str> {
    match address.rsplit_once(':') {
        None => Some("has no port"),
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
            Some("has more than one colon")
        }
        Some((host, port)) => host_problem(host).or_else(|| port_problem(port)),
    }
}

/// What is wrong with a host: a name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn host_problem(host: &str) -> Option<&'static str> {
    if host.is_empty() {
        return Some("has no host");
    }
    if host.starts_with('[') {
        // The standard library's own rules, which know `%1` for a link, too.
        let address = format!("{host}:0").parse::<SocketAddrV6>();
        return address.err().map(|_| "has brackets around no IPv6 address");
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let belongs = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if name.len() > LONGEST_NAME {
        Some("has a host longer than 253 characters")
    } else if !name.chars().all(belongs) {
        Some("has characters that no host has")
    } else if name
        .split('.')
        .any(|part| part.is_empty() || part.len() > LONGEST_PART)
    {
        Some("has nothing, or more than 63 characters, between two dots")
    } else {
        None
    }
}

/// What is wrong with a port.
pub(super) fn port_problem(port: &str) -> Option<&'static str> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => None,
        _ => Some("has a port that is no number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::address_problem;

    #[test]
    fn addresses_that_can_never_work_are_told_apart() {
        for good in [
            "localhost:1",
            "10.0.0.1:65535",
            "[::1]:80",
            "[fe80::1%2]:80",
            "db.internal:5432",
            "db.internal.:5432",
            "my_db-1:5432",
        ] {
            assert_eq!(address_problem(good), None, "{good}");
        }
        let (long_part, long_name) = ("x".repeat(64), "x.".repeat(50_000));
        for bad in [
            "",
            "db",
            "db:",
            ":1",
            ".:1",
            "a..b:1",
            "db:0",
            "db:65536",
            "db:+80",
            "db:-1",
            "::1:80",
            "[::1:80",
            "[x]:80",
            "a b:1",
            "a\0b:1",
            "http://x:80",
            &format!("{long_part}:1"),
            &format!("{long_name}:1"),
        ] {
            assert!(address_problem(bad).is_some(), "{bad}");
        }
    }
}
