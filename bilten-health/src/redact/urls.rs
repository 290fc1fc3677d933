//! Credentials in URLs and in front of an `@`: pure.

use super::prose::looks_made_up;

/// `scheme://user:pw@host` becomes `scheme://***@host`.
pub(super) fn mask_url_credentials(text: &str) -> String {
    const SIGN: &str = "://";
    let mut out = String::with_capacity(text.len());
    // Up to where all is written, where the word ends that is looked at, and the last `@` in it.
    let (mut done, mut end, mut last) = (0, 0, None);
    while let Some(found) = text[done..].find(SIGN) {
        let start = done + found + SIGN.len();
        if start >= end {
            end = start + token_end(&text[start..]);
            last = text[start..end].rfind('@').map(|at| start + at);
        }
        let next = text[start..]
            .find(SIGN)
            .map_or(text.len(), |next| start + next);
        // The last `@` counts: a password may hold `@`, and even `/`, when nobody encoded it.
        let at = match last {
            Some(at) if at >= start => Some(at).filter(|_| {
                !is_plain_http(&text[..start], &text[start..end])
                    && !is_a_user(scheme(&text[..start]), &text[start..at])
            }),
            // What ended the URL may be a part of its password.
            _ if promises_a_password(&text[start..end]) => {
                text[start..next].rfind('@').map(|at| start + at)
            }
            _ => None,
        };
        out.push_str(&text[done..start]);
        done = start;
        if let Some(at) = at {
            out.push_str("***");
            done = at;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// `user:pw@host`, as some drivers write it, becomes `***@host`.
pub(super) fn mask_logins(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        // Only what surely ends it: a password may hold commas, brackets and quotes.
        let opening = opening(rest);
        let end = opening + token_end(&rest[opening..]);
        let end = end + rest[end..].chars().next().map_or(0, char::len_utf8);
        let (word, after) = rest.split_at(end);
        match word.rfind('@') {
            Some(at)
                if at > opening
                    && word[opening..at].contains(':')
                    && !word[opening..].starts_with("mailto:")
                    && !names_plain_http(word)
                    && !names_a_user(&word[opening..at])
                    && !is_a_bus(&word[at + 1..])
                    && !word[..at].ends_with("***") =>
            {
                out.push_str(&word[..opening]);
                out.push_str("***");
                out.push_str(&word[at..]);
            }
            _ => out.push_str(word),
        }
        rest = after;
    }
    out
}

/// How long the signs and quotes are in front of a word, as between a key and its value in JSON.
fn opening(text: &str) -> usize {
    let signs = text.len() - text.trim_start_matches([':', ',', '=']).len();
    let word = text[signs..].trim_start_matches(is_quote);
    // Without a quote the colon is the login's own: `:pw@host`.
    if word.len() < text.len() - signs {
        text.len() - word.len()
    } else {
        0
    }
}

/// `app:hunt`: behind the colon stands no port, and so a password that has begun.
fn promises_a_password(token: &str) -> bool {
    let authority = token.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some(("", _)) => true,
        Some((_, port)) => {
            !authority.starts_with('[') && !port.bytes().all(|byte| byte.is_ascii_digit())
                || port.is_empty()
        }
        None => false,
    }
}

/// `h:80/path@v2` behind `http://`: no login, for nobody writes one into such a URL without encoding its slashes.
fn is_plain_http(before: &str, token: &str) -> bool {
    let http = ["http", "https"].contains(&scheme(before));
    let authority = token.split(['/', '?', '#']).next().unwrap_or_default();
    http && !authority.is_empty() && !authority.contains('@') && !promises_a_password(token)
}

/// Where nobody puts a token in the place of a user.
const WITH_USERS: [&str; 13] = [
    "amqp",
    "amqps",
    "postgres",
    "postgresql",
    "mysql",
    "mariadb",
    "mongodb",
    "srv",
    "sqlserver",
    "mssql",
    "ssh",
    "sftp",
    "ldap",
];

/// `app` in `postgres://app@h`, which says who may not log in.
fn is_a_user(scheme: &str, login: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    WITH_USERS.contains(&scheme) && login.chars().all(plain) && !looks_made_up(login)
}

/// What stands in front of `://`, with which `before` ends.
fn scheme(before: &str) -> &str {
    let scheme = before.trim_end_matches("://");
    let scheme = scheme.rsplit(|c: char| !c.is_ascii_alphanumeric()).next();
    scheme.unwrap_or_default()
}

/// The same of a word that holds one such URL and no other.
fn names_plain_http(word: &str) -> bool {
    match word.split_once("://") {
        Some((before, token)) => !token.contains("://") && is_plain_http(before, token),
        None => false,
    }
}

/// `postgres://app`, in front of the `@`, where there is no other colon.
fn names_a_user(before: &str) -> bool {
    let split = before.split_once("://");
    split.is_some_and(|(front, login)| !front.contains(':') && is_a_user(scheme(front), login))
}

/// `17001` behind `127.0.0.1:7001@`, with or without a name behind it: the second port of a node of Redis.
fn is_a_bus(host: &str) -> bool {
    let port = host.split(',').next().unwrap_or_default().trim_end();
    (4..6).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// A quote ends a word only where the text around it goes on as behind a quote.
fn token_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|&(_, next)| next);
        let ends = c.is_whitespace()
            || is_quote(c)
                && next.is_none_or(|next| {
                    next.is_whitespace() || is_quote(next) || ",.;:)]}".contains(next)
                });
        if ends {
            return at;
        }
    }
    text.len()
}

fn is_quote(c: char) -> bool {
    "\"'`<>".contains(c)
}
