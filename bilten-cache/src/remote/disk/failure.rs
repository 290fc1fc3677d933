use std::io;
use std::path::Path;

use crate::error::Error;
use crate::remote::RemoteError;

/// Why the database could not do something. After it the database is done with.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is in the file makes no sense.
    #[error("its file is damaged: {0}")]
    Damaged(String),
    /// It fails since a failure that somebody else was told.
    #[error("it failed before")]
    Before,
}

impl From<redb::Error> for Failure {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Before,
            other => Self::Damaged(other.to_string()),
        }
    }
}

macro_rules! from_redb {
    ($($kind:ident),*) => {
        $(impl From<redb::$kind> for Failure {
            fn from(error: redb::$kind) -> Self {
                redb::Error::from(error).into()
            }
        })*
    };
}

from_redb!(
    CommitError,
    DatabaseError,
    StorageError,
    TableError,
    TransactionError
);

impl From<&Failure> for RemoteError {
    fn from(failure: &Failure) -> Self {
        Self::Disk(failure.to_string())
    }
}

/// Why there is no store in a folder.
pub(super) fn unusable(folder: &Path, what: &str, error: &io::Error) -> Error {
    Error::config(
        "disk",
        format!("{what} in the folder `{}`: {error}", folder.display()),
        remedy(error.kind()),
    )
}

fn remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as Kind;
    match kind {
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "let the user that this program runs as write there, or choose another folder"
        }
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            "free some space there, lower `DiskOptions::bytes`, or choose a folder on another disk"
        }
        Kind::NotADirectory | Kind::AlreadyExists | Kind::IsADirectory => {
            "choose a path at which there is a folder or nothing"
        }
        _ => "choose another folder, on a disk of this machine that can be written to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_trouble_says_what_to_do_and_where() {
        let said = |kind: io::ErrorKind| {
            unusable(
                Path::new("/var/cache/shop"),
                "nothing can be written",
                &kind.into(),
            )
            .to_string()
        };
        let full = said(io::ErrorKind::StorageFull);
        assert!(full.starts_with("disk: nothing can be written in the folder `/var/cache/shop`: "));
        assert!(full.contains("free some space"), "{full}");
        let read_only = said(io::ErrorKind::ReadOnlyFilesystem);
        assert!(read_only.contains("let the user"), "{read_only}");
        assert!(said(io::ErrorKind::NotADirectory).contains("a folder or nothing"));
        assert!(said(io::ErrorKind::Other).contains("another folder"));
    }
}
