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

/// Refuses a URL whose password holds characters that end it early.
///
/// With an `@` behind the host, part of the password was read as host, port or database, and a message about
/// those would show it.
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
