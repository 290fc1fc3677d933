//! The parameters of a URL, behind its question mark.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use sea_orm::DbBackend;

use crate::Error;

/// What a parameter may be.
enum Value {
    Any,
    Port,
    Address,
    OneOf(&'static [&'static str]),
    /// The pool decides it, whatever the URL says.
    OfThePool,
}

type Known = (&'static [&'static str], Value);

const CACHE: &[&str] = &["statement-cache-capacity"];

const POSTGRES: &[Known] = &[
    (
        &["sslmode", "ssl-mode"],
        Value::OneOf(&[
            "disable",
            "allow",
            "prefer",
            "require",
            "verify-ca",
            "verify-full",
        ]),
    ),
    (&["sslrootcert", "ssl-root-cert", "ssl-ca"], Value::Any),
    (&["sslcert", "ssl-cert"], Value::Any),
    (&["sslkey", "ssl-key"], Value::Any),
    (&["host", "dbname", "user", "password"], Value::Any),
    (&["hostaddr"], Value::Address),
    (&["port"], Value::Port),
    (&["application_name", "options"], Value::Any),
    (CACHE, Value::OfThePool),
];

const MYSQL: &[Known] = &[
    (
        &["ssl-mode", "sslmode"],
        Value::OneOf(&[
            "DISABLED",
            "PREFERRED",
            "REQUIRED",
            "VERIFY_CA",
            "VERIFY_IDENTITY",
        ]),
    ),
    (&["ssl-ca", "sslca"], Value::Any),
    (&["ssl-cert", "sslcert"], Value::Any),
    (&["ssl-key", "sslkey"], Value::Any),
    (&["charset", "collation", "socket"], Value::Any),
    (&["timezone", "time-zone"], Value::Any),
    (CACHE, Value::OfThePool),
];

const SQLITE: &[Known] = &[
    (&["mode"], Value::OneOf(&["ro", "rw", "rwc", "memory"])),
    (&["cache"], Value::OneOf(&["private", "shared"])),
    (&["immutable"], Value::OneOf(&["true", "false", "1", "0"])),
    (&["vfs"], Value::Any),
];

/// Refuses what the driver does not know, or would refuse without saying which.
///
/// Of an unknown parameter PostgreSQL's driver would write the value into the log, a misspelt `password` among them, and
/// that of MySQL would pass over it in silence. Values are not shown.
pub(super) fn check(field: &str, backend: DbBackend, url: &str) -> Result<(), Error> {
    let known = match backend {
        DbBackend::MySql => MYSQL,
        DbBackend::Sqlite => SQLITE,
        _ => POSTGRES,
    };
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    match pairs
        .map(|pair| problem(known, backend, pair))
        .find_map(Result::err)
    {
        Some((problem, remedy)) => Err(Error::invalid(field, problem, remedy)),
        None => Ok(()),
    }
}

/// What is wrong with `name=value`, and what to do.
fn problem(known: &[Known], backend: DbBackend, pair: &str) -> Result<(), (String, String)> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    if backend == DbBackend::Postgres && name.starts_with("options[") {
        return Ok(());
    }
    let Some((_, wanted)) = known.iter().find(|(names, _)| names.contains(&name)) else {
        let names: Vec<_> = known
            .iter()
            .flat_map(|(names, _)| *names)
            .copied()
            .collect();
        let remedy = format!("remove it, or use one of {}", names.join(", "));
        return Err((unknown(pair), remedy));
    };
    let value = percent_decode_str(value).decode_utf8_lossy();
    let (fine, remedy) = match wanted {
        Value::Any => (true, String::new()),
        Value::Port => {
            let fine = value.parse::<u16>().is_ok_and(|port| port > 0);
            (fine, "give a number from 1 to 65535".to_owned())
        }
        Value::Address => {
            let fine = value.parse::<IpAddr>().is_ok();
            (
                fine,
                "give a plain IP address, or use `host` for a name".to_owned(),
            )
        }
        Value::OneOf(words) => {
            let fine = words.iter().any(|word| word.eq_ignore_ascii_case(&value));
            (fine, format!("use one of {}", words.join(", ")))
        }
        Value::OfThePool => {
            let remedy = "take it out, and set PoolConfig::statement_cache".to_owned();
            return Err((
                format!("has the parameter `{name}`, which the pool decides"),
                remedy,
            ));
        }
    };
    match fine {
        true => Ok(()),
        false => Err((
            format!("has a value for `{name}` that means nothing"),
            remedy,
        )),
    }
}

/// The name is shown only if it cannot be the end of a password with a `?` in it.
fn unknown(pair: &str) -> String {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-' | b'.');
        !name.is_empty() && name.bytes().all(plain)
    };
    match pair.split_once('=') {
        Some((name, _)) if is_name(name) => {
            format!("has the parameter `{name}`, which the driver does not know")
        }
        _ => "has a parameter that the driver does not know".to_owned(),
    }
}
