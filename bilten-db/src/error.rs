//! What can go wrong, with what to do about it.

use std::error::Error as StdError;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

/// Why a cluster could not be built, or a call could not be served.
///
/// Calls through SeaORM's traits return [`DbErr`]; errors of this crate travel in it as
/// [`RuntimeErr::Internal`](sea_orm::RuntimeErr::Internal) text. No message ever holds a password.
///
/// ```
/// use bilten_db::{Error, PageRequest};
///
/// let error = PageRequest::new(0, 20).check().unwrap_err();
/// assert!(matches!(error, Error::Invalid { .. }));
/// assert_eq!(error.to_string(), "page is 0, but pages count from 1: ask for page 1 or later");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an argument has no meaning.
    #[error("{field} {problem}: {remedy}")]
    #[non_exhaustive]
    Invalid {
        /// The setting or argument.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// How to mend it.
        remedy: String,
    },

    /// A node that must be there could not be reached.
    #[error("{node} at {address} {problem}: {remedy}")]
    #[non_exhaustive]
    Unreachable {
        /// `primary`, or the id of a replica.
        node: String,
        /// Host and port, or the path of a file.
        address: String,
        /// What failed.
        problem: &'static str,
        /// How to mend it.
        remedy: &'static str,
        /// What the driver said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    /// No replica is in rotation, and the primary may not stand in.
    #[error(
        "no replica is in rotation: see Cluster::status() for the reasons, or allow Fallback::Primary"
    )]
    NoReplica,

    /// The primary already serves as many reads in place of replicas as it may.
    #[error(
        "no replica is in rotation and the primary already serves {limit} reads for them: try again later or raise the limit"
    )]
    #[non_exhaustive]
    Overloaded {
        /// Most reads that may run on the primary in place of replicas.
        limit: u32,
    },

    /// The call took longer than it may, all tries together.
    #[error(
        "no answer within the deadline of {limit:?}: a write may or may not have happened; see Cluster::status() for slow nodes, or allow more time"
    )]
    #[non_exhaustive]
    Deadline {
        /// The limit of [`ClusterBuilder::deadline`](crate::ClusterBuilder::deadline) or
        /// [`with_deadline`](crate::scope::with_deadline).
        limit: Duration,
    },

    /// The cluster was closed.
    #[error(
        "the cluster was closed: end its users before Cluster::close(), or build a new cluster"
    )]
    Closed,

    /// The database answered with an error.
    #[error("the database refused the statement")]
    Db(#[source] DbErr),
}

impl Error {
    pub(crate) fn invalid(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        Self::Db(error)
    }
}

impl From<Error> for DbErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error,
            error => internal(error.to_string()),
        }
    }
}

/// An error of this crate in SeaORM's words.
pub(crate) fn internal(message: String) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(message))
}
