//! The part of a URL between the scheme and the path: user, password, host and port.

use std::net::Ipv6Addr;

use crate::Error;

const ENCODE: &str = "percent-encode special characters of the user name and the password (@ is %40, / is %2F, : is %3A, # is %23, ? is %3F)";

/// Refuses what the driver would refuse in fewer words, or read as something else.
///
/// A password with a character that ends it early is read as host, port or database in part, so none of those is shown.
pub(super) fn check(field: &str, url: &str) -> Result<(), Error> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    if behind.contains('@') || authority.matches('@').count() > 1 {
        return Err(Error::invalid(
            field,
            "has an `@` where none can be",
            ENCODE,
        ));
    }
    let place = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
    let Some((problem, remedy)) = place_problem(place) else {
        return Ok(());
    };
    Err(Error::invalid(
        field,
        problem,
        format!("{remedy}; {ENCODE}"),
    ))
}

/// What is wrong with `host:port`, and what to do.
fn place_problem(place: &str) -> Option<(&'static str, &'static str)> {
    if place.contains(',') {
        let remedy = "name one, and each other one as a replica or by a name in DNS";
        return Some(("names several hosts", remedy));
    }
    if place.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some(("has a space in the host", "take it out"));
    }
    let port = match place.strip_prefix('[') {
        Some(inside) => match port_behind(inside) {
            Ok(port) => port,
            Err(problem) => return Some(problem),
        },
        None if place.matches(':').count() > 1 => {
            let remedy = "put an address of IPv6 in brackets, as in [::1]:5432";
            return Some(("has more than one colon in host and port", remedy));
        }
        None => place.split_once(':').map(|(_, port)| port),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match port.is_none_or(is_port) {
        true => None,
        false => Some(("has a port that is no number from 1 to 65535", "correct it")),
    }
}

/// The port behind an address of IPv6; `inside` begins behind the opening bracket.
fn port_behind(inside: &str) -> Result<Option<&str>, (&'static str, &'static str)> {
    let problem = || {
        let remedy = "write it as [::1] or [::1]:5432, without a zone";
        Err((
            "has brackets around something that is no address of IPv6",
            remedy,
        ))
    };
    let Some((address, behind)) = inside.split_once(']') else {
        return problem();
    };
    match behind.strip_prefix(':') {
        _ if address.parse::<Ipv6Addr>().is_err() => problem(),
        None if behind.is_empty() => Ok(None),
        None => problem(),
        port => Ok(port),
    }
}
