//! Where a node is: what is wrong with its URL, and how it may be shown, never with a user name or a password.

mod authority;
mod parameters;
mod veil;

pub(crate) use veil::veiled;

use std::borrow::Cow;

use sea_orm::DbBackend;

use crate::Error;

/// The kind of database that a URL names, once nothing is wrong with the URL.
///
/// `field` is the name under which the URL was given. No part of the URL is shown that may belong to a password.
pub(crate) fn check(field: &str, url: &str) -> Result<DbBackend, Error> {
    let backend = backend_of(field, url)?;
    match backend {
        DbBackend::Sqlite => check_file(field, url)?,
        _ => authority::check(field, url)?,
    }
    parameters::check(field, backend, url)?;
    Ok(backend)
}

/// The kind of database that the scheme of a URL names.
pub(crate) fn backend_of(field: &str, url: &str) -> Result<DbBackend, Error> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        // A SQLite path needs no slashes. `postgres:host` would be read as a database on localhost.
        "sqlite" => return Ok(DbBackend::Sqlite),
        "postgres" | "postgresql" if rest.starts_with("//") => return Ok(DbBackend::Postgres),
        "mysql" | "mariadb" if rest.starts_with("//") => return Ok(DbBackend::MySql),
        _ => {}
    }
    let is_name = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase());
    let problem = match is_name && rest.starts_with("//") {
        true => format!("has the scheme `{scheme}`, which is none of a database known here"),
        false => "is not a database URL".to_owned(),
    };
    Err(Error::invalid(
        field,
        problem,
        "write it as postgres://user:password@host:5432/database, mysql://.. or sqlite://path",
    ))
}

/// The URL as drivers know it: the case of a scheme means nothing, but not all of them look past it.
pub(crate) fn with_plain_scheme(url: &str) -> Cow<'_, str> {
    match url.split_once(':') {
        Some((scheme, rest)) if scheme.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            Cow::Owned(format!("{}:{rest}", scheme.to_ascii_lowercase()))
        }
        _ => Cow::Borrowed(url),
    }
}

/// Refuses a SQLite URL that names no file: each connection would get a database of its own, which goes with it.
fn check_file(field: &str, url: &str) -> Result<(), Error> {
    let rest = url.split_once(':').map_or("", |(_, rest)| rest);
    let path = rest.trim_start_matches("//").split('?').next();
    if path.is_some_and(|path| !path.is_empty()) || rest.contains("mode=memory") {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        "names no file",
        "write sqlite://path/to/file, or sqlite::memory: for a database in memory",
    ))
}

/// What a replica may be called: it shows in metrics, logs and the status.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let problem = match id {
        "" => "is empty",
        _ if id.contains("://") => "is a URL, and a name is shown where no password may be",
        _ => return Ok(()),
    };
    Err(Error::invalid(
        "replica id",
        problem,
        "give each replica a name, such as `r1`",
    ))
}

/// A URL sets an address of IPv6 in brackets, which name resolution does not know.
#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(crate) fn resolvable(host: &str) -> &str {
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inside.unwrap_or(host)
}

#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The URL, and what the error says; nothing for a URL that is fine.
    fn tell(table: &[(&str, &str)]) {
        for (url, expected) in table {
            let told = match check("primary", url) {
                Ok(_) => String::new(),
                Err(error) => {
                    let Error::Invalid { field, remedy, .. } = &error else {
                        panic!("{url}: {error:?}");
                    };
                    assert!(field == "primary" && !remedy.is_empty(), "{url}: {error}");
                    format!("{error} {error:?}")
                }
            };
            assert_eq!(told.is_empty(), expected.is_empty(), "{url}: {told}");
            assert!(told.contains(expected), "{url}: {told}");
            assert!(!told.contains("cret"), "{url}: {told}");
        }
    }

    #[test]
    fn the_scheme_names_the_database() {
        let table = [
            ("postgres://a/b", DbBackend::Postgres),
            ("postgresql://a/b", DbBackend::Postgres),
            ("mysql://a/b", DbBackend::MySql),
            ("mariadb://a/b", DbBackend::MySql),
            ("sqlite::memory:", DbBackend::Sqlite),
            ("POSTGRES://a/b", DbBackend::Postgres),
            ("MySQL://a/b", DbBackend::MySql),
            ("SQLite::memory:", DbBackend::Sqlite),
        ];
        for (url, backend) in table {
            assert_eq!(check("primary", url).unwrap(), backend, "{url}");
        }
        assert_eq!(
            with_plain_scheme("POSTGRES://A:B@c/D"),
            "postgres://A:B@c/D"
        );
        assert_eq!(with_plain_scheme("sqlite:A"), "sqlite:A");
        tell(&[
            ("http://app:s3cret@db/shop", "the scheme `http`"),
            ("mssql://app:s3cret@db/shop", "the scheme `mssql`"),
            ("HTTP://app:s3cret@db/shop", "the scheme `http`"),
            ("PostgreS3cret://db", "is not a database URL"),
            ("postgres:app:s3cret@h", "is not a database URL"),
            ("mysql:h/b", "is not a database URL"),
            ("s3cret", "is not a database URL"),
            ("", "is not a database URL"),
        ]);
    }

    #[test]
    fn what_is_wrong_with_a_url_is_named_without_the_password() {
        tell(&[
            ("postgres://app:s3%40cret@db:5432/shop", ""),
            ("postgres://app@[::1]:5432/shop", ""),
            ("postgres:///shop?host=/run/postgresql", ""),
            ("postgres://%2Frun%2Fpostgresql/shop", ""),
            ("postgres://app:s3cret@db:99999/shop", "from 1 to 65535"),
            ("postgres://app:s3cret@db:0/shop", "from 1 to 65535"),
            ("postgres://app:s3cret@db:/shop", "from 1 to 65535"),
            ("mysql://app:s3cret@db:many/shop", "from 1 to 65535"),
            ("postgres://app:s3cret", "from 1 to 65535"),
            ("postgres://app:s3cret@::1/shop", "in brackets"),
            ("postgres://app:s3cret@[::1/shop", "IPv6"),
            ("postgres://app:s3cret@[::1]5432/shop", "IPv6"),
            ("postgres://app:s3cret@[db]/shop", "IPv6"),
            ("mysql://app:s3cret@[fe80::7%25eth0]/shop", "IPv6"),
            ("postgres://app:s3cret@db-1,db-2/shop", "several hosts"),
            ("postgres://app:s3cret@db-1:1,db-2:2/shop", "several hosts"),
            ("postgres://app:s3cret@d b/shop", "space"),
            ("postgres://app:s3/cret@db/shop", "%40"),
            ("postgres://app:12/cret@db/shop", "%40"),
            ("postgres://app:12?cret@db/shop", "%40"),
            ("postgres://app:12#cret@db/shop", "%40"),
            ("postgres://app:s3@cret@db/shop", "%40"),
        ]);
    }

    #[test]
    fn a_parameter_that_the_driver_would_not_take_is_named_without_its_value() {
        tell(&[
            ("postgres://app@db/shop?", ""),
            ("postgres://app@db/shop?sslmode=Require&options[a]=b", ""),
            ("postgres://app@db/shop?sslmode=verify%2Dfull#part", ""),
            ("mysql://app@db/shop?ssl-mode=REQUIRED&charset=utf8mb4", ""),
            ("sqlite://shop.db?mode=rwc&cache=private", ""),
            ("postgres://db/shop?sslmode=s3cret", "`sslmode`"),
            ("postgres://db/shop?sslmode=s3cret", "verify-full"),
            ("postgres://db/shop?sslmode", "`sslmode`"),
            ("mysql://db/shop?ssl-mode=require", "VERIFY_IDENTITY"),
            ("postgres://db/shop?port=99999", "`port`"),
            ("postgres://db/shop?hostaddr=db", "`hostaddr`"),
            ("postgres://db/shop?pwd=s3cret", "`pwd`"),
            ("postgres://db/shop?pwd=s3cret", "application_name"),
            ("mysql://db/shop?useSSL=s3cret", "`useSSL`"),
            ("postgres://db/shop?sslmode=require&s3cret", "a parameter"),
            ("postgres://db/shop?s3%63ret=1", "a parameter"),
            (
                "postgres://db/shop?statement-cache-capacity=0",
                "PoolConfig::statement_cache",
            ),
            ("sqlite://shop.db?mode=all", "`mode`"),
            ("sqlite://shop.db?journal_mode=wal", "`journal_mode`"),
        ]);
    }

    #[test]
    fn sqlite_needs_a_file_or_memory() {
        tell(&[
            ("sqlite://shop.db", ""),
            ("sqlite:shop.db?mode=ro", ""),
            ("sqlite:///tmp/shop.db", ""),
            ("sqlite::memory:", ""),
            ("sqlite://?mode=memory", ""),
            ("sqlite://", "names no file"),
            ("sqlite:", "names no file"),
            ("sqlite://?mode=ro", "names no file"),
        ]);
    }

    #[test]
    fn a_url_is_no_name() {
        assert!(check_id("r1").is_ok() && check_id("10.0.0.7:5432").is_ok());
        for id in ["", "postgres://app:s3cret@db/shop"] {
            let error = check_id(id).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains("replica id") && !text.contains("cret"));
        }
    }
}
