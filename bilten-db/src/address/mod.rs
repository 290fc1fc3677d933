//! Where a node is, as it may be shown: never with a user name or a password.

use sea_orm::DbBackend;

use crate::Error;

/// The kind of database that a URL names.
///
/// `field` is the name under which the URL was given.
pub(crate) fn backend_of(field: &str, url: &str) -> Result<DbBackend, Error> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    // `postgres:host` would be read as a database on localhost. A SQLite path needs no slashes.
    let scheme = match scheme {
        "sqlite" => scheme,
        _ if rest.starts_with("//") => scheme,
        _ => "",
    };
    match scheme {
        "postgres" | "postgresql" => Ok(DbBackend::Postgres),
        "mysql" | "mariadb" => Ok(DbBackend::MySql),
        "sqlite" => Ok(DbBackend::Sqlite),
        _ => Err(Error::invalid(
            field,
            "is not a database URL",
            "write it as postgres://user:password@host:5432/database, mysql://.. or sqlite://path",
        )),
    }
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

/// Refuses a URL whose password holds characters that end it early.
///
/// With an `@` behind the host, part of the password was read as host, port or database, and a message about
/// those would show it.
#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(crate) fn check_authority(field: &str, url: &str) -> Result<(), Error> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    if behind.contains('@') || authority.matches('@').count() > 1 {
        return Err(Error::invalid(
            field,
            "has an `@` where none can be",
            "percent-encode special characters of the user name and the password (@ is %40, / is %2F, # is %23, ? is %3F)",
        ));
    }
    Ok(())
}

/// Refuses parameters that the PostgreSQL driver does not know.
///
/// It would only warn, and write the value into the log: a misspelt `password` among them. The name is not shown
/// either, since it may be the end of a password with a `?` in it.
#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(crate) fn check_parameters(field: &str, url: &str) -> Result<(), Error> {
    const KNOWN: [&str; 18] = [
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
    ];
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let is_known = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        pair.is_empty() || KNOWN.contains(&name) || name.starts_with("options[")
    };
    if query.split('&').all(is_known) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        "has a parameter that the driver does not know",
        format!("remove it, or use one of {}, options[..]", KNOWN.join(", ")),
    ))
}

/// Refuses a SQLite URL that names no file: each connection would get a database of its own, which goes with it.
#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(crate) fn check_file(field: &str, url: &str) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_names_the_database() {
        let table = [
            ("postgres://a/b", Some(DbBackend::Postgres)),
            ("postgresql://a/b", Some(DbBackend::Postgres)),
            ("mysql://a/b", Some(DbBackend::MySql)),
            ("mariadb://a/b", Some(DbBackend::MySql)),
            ("sqlite::memory:", Some(DbBackend::Sqlite)),
            ("http://a/b", None),
            ("postgres:app:secret@h", None),
            ("mysql:h/b", None),
            ("secret", None),
            ("", None),
        ];
        for (url, backend) in table {
            assert_eq!(backend_of("primary", url).ok(), backend, "{url}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_and_not_shown() {
        let table = [
            ("postgres://app@db/shop", true),
            ("postgres://app@db/shop?", true),
            ("postgres://app@db/shop?sslmode=require&options[a]=b", true),
            ("postgres://app@db/shop?pwd=s3cret", false),
            ("postgres://app@db/shop?sslmode=require&s3cret", false),
        ];
        for (url, fine) in table {
            let checked = check_parameters("primary", url);
            assert_eq!(checked.is_ok(), fine, "{url}");
            if let Err(error) = checked {
                assert!(!format!("{error} {error:?}").contains("cret"));
            }
        }
    }

    #[test]
    fn sqlite_needs_a_file_or_memory() {
        let table = [
            ("sqlite://shop.db", true),
            ("sqlite:shop.db?mode=ro", true),
            ("sqlite:///tmp/shop.db", true),
            ("sqlite::memory:", true),
            ("sqlite://?mode=memory", true),
            ("sqlite://", false),
            ("sqlite:", false),
            ("sqlite://?mode=ro", false),
        ];
        for (url, fine) in table {
            assert_eq!(check_file("primary", url).is_ok(), fine, "{url}");
        }
    }

    #[test]
    fn a_password_that_ends_the_host_early_is_refused_without_being_shown() {
        let table = [
            ("postgres://app:s3cret@db/shop", true),
            ("postgres://app:s3%40cret@db:5432/shop", true),
            ("postgres://app:s3/cret@db/shop", false),
            ("postgres://app:12/cret@db/shop", false),
            ("postgres://app:12?cret@db/shop", false),
            ("postgres://app:12#cret@db/shop", false),
            ("postgres://app:s3@cret@db/shop", false),
        ];
        for (url, fine) in table {
            let checked = check_authority("primary", url);
            assert_eq!(checked.is_ok(), fine, "{url}");
            if let Err(error) = checked {
                let text = format!("{error} {error:?}");
                assert!(text.contains("primary") && text.contains("%40"), "{text}");
                assert!(!text.contains("cret"), "{text}");
            }
        }
    }
}
