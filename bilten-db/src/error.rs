//! What can go wrong, with what to do about it.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};

/// Why a cluster could not be built, or a call could not be served.
///
/// Calls through SeaORM's traits return [`DbErr`], in which errors of this crate travel as a source: [`Error::of`] finds
/// them again. No message ever holds a password.
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
        "no answer within the deadline of {limit:?}{}: see Cluster::status() for slow nodes, or allow more time",
        if *.write { ", and it is unknown whether the write was done" } else { "" }
    )]
    #[non_exhaustive]
    Deadline {
        /// A write was under way, which may have been done or not.
        write: bool,
        /// The limit of [`ClusterBuilder::deadline`](crate::ClusterBuilder::deadline) or
        /// [`with_deadline`](crate::scope::with_deadline).
        limit: Duration,
    },

    /// A write was sent and had no answer: the connection broke, or the node fell silent. It is never sent again.
    #[error(
        "{node} at {address} gave no answer to a write, so it is unknown whether it was done: look before you repeat it"
    )]
    #[non_exhaustive]
    OutcomeUnknown {
        /// `primary`, or the id that it had as a replica.
        node: String,
        /// Host and port.
        address: String,
        /// What happened instead of an answer.
        #[source]
        source: DbErr,
    },

    /// A stream ended after rows of it had reached the caller. It is not begun again.
    #[error(
        "the stream from {node} at {address} was cut after {rows} rows: {}",
        if *.write { "it is unknown whether its write was done, so look before you repeat it" } else { "forget them and begin again, or go on behind the last" }
    )]
    #[non_exhaustive]
    Interrupted {
        /// `primary`, or the id of a replica.
        node: String,
        /// Host and port, or the path of a file.
        address: String,
        /// Rows that were given out.
        rows: u64,
        /// The statement writes, and may have done so or not.
        write: bool,
        /// What cut it.
        #[source]
        source: DbErr,
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

impl Error {
    /// The error of this crate inside of one of SeaORM; `None` when it comes from the database or the driver.
    ///
    /// ```
    /// # use bilten_db::{Cluster, sea_orm::ConnectionTrait};
    /// use bilten_db::Error;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
    /// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// db.close().await;
    /// let error = db.execute_unprepared("SELECT 1").await.unwrap_err();
    /// assert!(matches!(Error::of(&error), Some(Error::Closed)));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn of(error: &DbErr) -> Option<&Self> {
        let (DbErr::Conn(inner) | DbErr::Exec(inner) | DbErr::Query(inner)) = error else {
            return None;
        };
        let RuntimeErr::SqlxError(error) = inner else {
            return None;
        };
        match &**error {
            sqlx::Error::Io(carrier) => carrier.get_ref()?.downcast_ref(),
            _ => None,
        }
    }

    /// Whether a write of which this is the error may have been done all the same. Look before you repeat it.
    ///
    /// True for [`OutcomeUnknown`](Self::OutcomeUnknown), for a [`Deadline`](Self::Deadline) that passed while a write was
    /// under way, and for the stream of a write that was [`Interrupted`](Self::Interrupted).
    ///
    /// ```
    /// use bilten_db::Error;
    /// use bilten_db::sea_orm::DbErr;
    ///
    /// let refused = DbErr::Custom("no such table".to_owned());
    /// assert!(!Error::outcome_is_unknown(&refused), "an answer is an answer");
    /// ```
    #[must_use]
    pub fn outcome_is_unknown(error: &DbErr) -> bool {
        matches!(
            Self::of(error),
            Some(
                Self::OutcomeUnknown { .. }
                    | Self::Deadline { write: true, .. }
                    | Self::Interrupted { write: true, .. }
            )
        )
    }
}

impl From<DbErr> for Error {
    /// An error of this crate inside comes out again.
    fn from(error: DbErr) -> Self {
        match Self::of(&error) {
            Some(_) => ours(error).unwrap_or_else(Self::Db),
            None => Self::Db(error),
        }
    }
}

/// The error of this crate in `error`; `error` itself when others hold it too.
fn ours(error: DbErr) -> Result<Error, DbErr> {
    let DbErr::Conn(RuntimeErr::SqlxError(error)) = error else {
        return Err(error);
    };
    let again = |error| DbErr::Conn(RuntimeErr::SqlxError(error));
    match Arc::try_unwrap(error).map_err(again)? {
        sqlx::Error::Io(carrier) => match carrier.downcast::<Error>() {
            Ok(error) => Ok(error),
            Err(carrier) => Err(again(Arc::new(sqlx::Error::Io(carrier)))),
        },
        error => Err(again(Arc::new(error))),
    }
}

impl From<Error> for DbErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => error,
            // The only way for a type of ours: SeaORM holds errors of the driver, and the driver holds those of the system.
            error => {
                let carrier = sqlx::Error::Io(std::io::Error::other(error));
                Self::Conn(RuntimeErr::SqlxError(Arc::new(carrier)))
            }
        }
    }
}

/// An error of this crate in SeaORM's words.
pub(crate) fn internal(message: String) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_is_found_again_in_that_of_seaorm() {
        let source = DbErr::Custom("cut".to_owned());
        let unknown = Error::OutcomeUnknown {
            node: "primary".to_owned(),
            address: "db-1:5432".to_owned(),
            source,
        };
        let late = |write| Error::Deadline {
            limit: Duration::from_secs(1),
            write,
        };
        let table = [
            (unknown, true),
            (late(true), true),
            (late(false), false),
            (Error::NoReplica, false),
            (Error::Closed, false),
        ];
        for (error, in_doubt) in table {
            let text = error.to_string();
            let error = DbErr::from(error);
            assert_eq!(Error::of(&error).unwrap().to_string(), text);
            assert!(error.to_string().contains(&text), "{error}");
            assert_eq!(Error::outcome_is_unknown(&error), in_doubt, "{error}");
            assert!(Error::of(&error.clone()).is_some());
        }
        let closed = Error::from(DbErr::from(Error::Closed));
        assert!(matches!(closed, Error::Closed), "there and back");
        let plain = DbErr::from(Error::Db(DbErr::Custom("a".to_owned())));
        assert!(Error::of(&plain).is_none());
        assert!(Error::of(&internal("text".to_owned())).is_none());
    }
}
