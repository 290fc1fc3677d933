//! What went wrong on one node, sorted by what it means for the next step.

#[cfg(not(all(feature = "mysql", feature = "postgres")))]
mod absent;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;

#[cfg(not(feature = "mysql"))]
use absent as mysql;
#[cfg(not(feature = "postgres"))]
use absent as postgres;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};
use sqlx::error::DatabaseError;

use crate::error::internal;

/// Why a node did not serve a call.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No connection could be opened; nothing was sent.
    Unreachable(sqlx::Error),
    /// Opening a connection took too long; nothing was sent.
    ConnectTimeout(Duration),
    /// A new connection was let in, but what was asked on it had no answer: behind a pooler the server may be gone, or busy
    /// with others.
    Unheard(Duration),
    /// The pool was given up while the call waited for a connection; nothing was sent.
    Discarded,
    /// Every connection stayed in use; nothing was sent.
    Saturated { max: u32, waited: Duration },
    /// The answer did not come in time.
    QueryTimeout(Duration),
    /// The node answers neither this nor anything else.
    Silent(Duration),
    /// The database or the driver answered with an error.
    Statement(DbErr),
    /// It was answered, by a server that was started meanwhile or may have been: perhaps an earlier state than was seen.
    Unsure,
}

/// The meaning of a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The node cannot be reached.
    Unreachable,
    /// A connection broke while in use, or its pool was given up.
    Lost,
    /// The server had ended the connection because it idled, before it was used again.
    Idled,
    /// No connection in time.
    Slow,
    /// No answer in time: the statement may be slow, or the node dead.
    Unanswered,
    /// The node is dead or frozen: it answers nothing.
    Silent,
    /// The node is busy, not broken.
    Busy,
    /// A replica cancelled a read to go on replaying, or found a deadlock with it.
    Conflict,
    /// The statement writes, and this node takes no writes.
    ReadOnly,
    /// What the statement asks for is not to be had in the present state of this node, perhaps because it replays.
    NotHere,
    /// An answer meant for the caller.
    Answer,
}

impl Fault {
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::Unreachable(error) if driver_trouble(error) == Trouble::Busy => Trouble::Busy,
            Self::Unreachable(_) => Trouble::Unreachable,
            Self::Discarded | Self::Unsure => Trouble::Lost,
            Self::ConnectTimeout(_) => Trouble::Slow,
            Self::Unheard(_) => Trouble::Busy,
            Self::QueryTimeout(_) => Trouble::Unanswered,
            Self::Silent(_) => Trouble::Silent,
            Self::Saturated { .. } => Trouble::Busy,
            Self::Statement(error) => trouble_of(error),
        }
    }

    /// Whether a second try will fail as well: the server knows the user or the password to be wrong. Many such tries
    /// lock a user out where failed logins are counted.
    pub(crate) fn lasts(&self) -> bool {
        match self {
            Self::Unreachable(sqlx::Error::Database(answer)) => {
                answer.code().is_some_and(|code| code.starts_with("28"))
            }
            _ => false,
        }
    }

    /// Whether the node may still serve reads: it was slow to let a probe in, or answered one with an error.
    pub(crate) fn is_soft(&self) -> bool {
        matches!(
            self.trouble(),
            Trouble::Slow | Trouble::Unanswered | Trouble::Answer | Trouble::NotHere
        )
    }

    /// Whether the node said that it will not, which it could not if it were down.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.trouble(), Trouble::Answer | Trouble::NotHere)
    }

    /// Whether something on the way said that the server is gone: of itself a server says nothing like it.
    pub(crate) fn is_of_a_pooler(&self) -> bool {
        let answer = match self {
            Self::Unreachable(error) => error.as_database_error(),
            Self::Statement(error) => answer_of(error),
            _ => None,
        };
        let tells = |code: &str| code.starts_with("08") || code == "58000";
        self.trouble() != Trouble::Busy
            && answer
                .and_then(DatabaseError::code)
                .is_some_and(|code| tells(&code))
    }

    /// Whether the node may have worked on the statement.
    pub(crate) fn was_sent(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::ConnectTimeout(_) | Self::Unheard(_) => false,
            Self::Discarded | Self::Saturated { .. } => false,
            Self::QueryTimeout(_) | Self::Silent(_) | Self::Unsure => true,
            Self::Statement(_) => !matches!(
                self.trouble(),
                Trouble::Unreachable | Trouble::Busy | Trouble::Idled
            ),
        }
    }

    /// Whether a write may have been done or not.
    pub(crate) fn leaves_doubt(&self) -> bool {
        let unanswered = matches!(
            self.trouble(),
            Trouble::Lost | Trouble::Unanswered | Trouble::Silent
        );
        self.was_sent() && unanswered
    }

    /// Whether the time it took tells how fast the node answers; a refused connection is quick and says nothing.
    pub(crate) fn says_speed(&self) -> bool {
        !matches!(
            self.trouble(),
            Trouble::Unreachable | Trouble::Lost | Trouble::Idled | Trouble::ReadOnly
        )
    }

    /// Whether a prepared statement of ours is missing, or there before it was made: another client's session answers.
    pub(crate) fn tells_of_a_pooler(&self) -> bool {
        let Self::Statement(error) = self else {
            return false;
        };
        let Some(answer) = answer_of(error) else {
            return false;
        };
        let is_about_one = matches!(answer.code().as_deref(), Some("26000" | "42P05"));
        is_about_one && answer.message().contains("sqlx_s_")
    }

    /// What the driver said, without the wrapping.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Unreachable(error) => error.to_string(),
            Self::Statement(error) => error.to_string(),
            Self::ConnectTimeout(limit) => format!("no connection or no answer within {limit:?}"),
            Self::Unheard(limit) => format!("let in, but no answer to a question within {limit:?}"),
            Self::Silent(limit) => format!("no answer to anything for {limit:?}"),
            Self::Unsure => "its server may have been started again".to_owned(),
            Self::Discarded | Self::Saturated { .. } | Self::QueryTimeout(_) => {
                "no answer".to_owned()
            }
        }
    }

    /// What a caller of SeaORM sees.
    pub(crate) fn into_db_err(self, node: &str, address: &str) -> DbErr {
        match self {
            Self::Statement(error) => error,
            Self::Unreachable(error) => DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))),
            Self::ConnectTimeout(waited) => internal(format!(
                "{node} at {address}: no connection within connect_timeout ({waited:?}); is the server up and not overloaded?"
            )),
            Self::Unheard(waited) => internal(format!(
                "{node} at {address}: let in, but no answer within {waited:?}; behind a pooler its server may be down, or all its connections in use"
            )),
            Self::Discarded => internal(format!(
                "{node} at {address} went down while waiting for a connection"
            )),
            Self::Unsure => internal(format!(
                "{node} at {address} was started again, or could not tell whether it was, so its answer may be older than what was asked for"
            )),
            Self::Saturated { max, waited } => internal(format!(
                "{node} at {address}: all {max} connections were in use for acquire_timeout ({waited:?}); raise max or hold connections for less long"
            )),
            Self::QueryTimeout(waited) => internal(format!(
                "{node} at {address}: no answer within query_timeout ({waited:?}); the statement may still run on the server"
            )),
            Self::Silent(waited) => internal(format!(
                "{node} at {address} answers nothing any more: given up after {waited:?}"
            )),
        }
    }
}

/// What the server answered to a statement, if it is that.
fn answer_of(error: &DbErr) -> Option<&dyn DatabaseError> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => {
            error.as_database_error()
        }
        _ => None,
    }
}

/// The meaning of SeaORM's error.
pub(crate) fn trouble_of(error: &DbErr) -> Trouble {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Trouble::Busy,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => Trouble::Lost,
        DbErr::Conn(RuntimeErr::SqlxError(e)) if !matches!(**e, sqlx::Error::Database(_)) => {
            Trouble::Unreachable
        }
        DbErr::Conn(RuntimeErr::SqlxError(e))
        | DbErr::Exec(RuntimeErr::SqlxError(e))
        | DbErr::Query(RuntimeErr::SqlxError(e)) => driver_trouble(e),
        _ => Trouble::Answer,
    }
}

/// The meaning of the driver's error.
pub(crate) fn driver_trouble(error: &sqlx::Error) -> Trouble {
    match error {
        sqlx::Error::Database(answer) => {
            let by_code = || {
                let code = answer.code()?;
                let told = told_trouble(&code, answer.message());
                Some(told.unwrap_or_else(|| code_trouble(&code)))
            };
            let told = mysql::trouble(&**answer).or_else(|| postgres::trouble(&**answer));
            told.or_else(by_code).unwrap_or(Trouble::Answer)
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => Trouble::Lost,
        sqlx::Error::PoolClosed => Trouble::Lost,
        sqlx::Error::PoolTimedOut => Trouble::Busy,
        _ => Trouble::Answer,
    }
}

/// Where one SQLSTATE has several meanings, and the message tells which. A server that speaks another language is taken by
/// the code alone.
fn told_trouble(code: &str, message: &str) -> Option<Trouble> {
    let tells = |text: &[&str]| text.iter().any(|text| message.contains(text));
    match code {
        // An unlogged table, or SERIALIZABLE as the default of all sessions.
        "0A000" if tells(&["during recovery", "hot standby"]) => Some(Trouble::NotHere),
        // Not because it replays: a view without data, an extension that is not loaded here. Elsewhere it may do.
        "55000" if tells(&["has not been populated", "must be loaded via"]) => {
            Some(Trouble::Conflict)
        }
        // PgBouncer at max_client_conn. The connections that it has go on.
        "08P01" if tells(&["no more connections allowed"]) => Some(Trouble::Busy),
        _ => None,
    }
}

/// SQLSTATE (PostgreSQL, MySQL) or the result code of SQLite.
fn code_trouble(code: &str) -> Trouble {
    match code {
        "25006" => Trouble::ReadOnly,
        // "recovery is in progress": some functions say it in this way.
        "55000" => Trouble::NotHere,
        // Recovery conflict, deadlock with replay.
        "40001" | "40P01" => Trouble::Conflict,
        "57P01" | "57P02" | "57P03" => Trouble::Lost,
        "53300" => Trouble::Busy,
        // A session of a role that is not there any more, or of a database being dropped.
        "57P04" => Trouble::Lost,
        _ if code.len() == 5 && code.starts_with("08") => Trouble::Lost,
        _ if sqlite_read_only(code) => Trouble::ReadOnly,
        _ => Trouble::Answer,
    }
}

/// SQLITE_READONLY is 8; extended codes keep it in the low byte.
fn sqlite_read_only(code: &str) -> bool {
    code.len() < 5 && code.parse::<u32>().is_ok_and(|n| n & 0xff == 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_tells_what_to_do_next() {
        let table = [
            ("25006", Trouble::ReadOnly),
            ("8", Trouble::ReadOnly),
            ("1032", Trouble::ReadOnly),
            ("40001", Trouble::Conflict),
            ("57P01", Trouble::Lost),
            ("57P03", Trouble::Lost),
            ("57P05", Trouble::Answer),
            ("08006", Trouble::Lost),
            ("53300", Trouble::Busy),
            ("55000", Trouble::NotHere),
            ("57014", Trouble::Answer),
            ("42P01", Trouble::Answer),
            ("23505", Trouble::Answer),
            ("22012", Trouble::Answer),
            ("5", Trouble::Answer),
        ];
        for (code, trouble) in table {
            assert_eq!(code_trouble(code), trouble, "{code}");
        }
    }

    #[test]
    fn a_message_tells_which_of_two_things_a_code_means() {
        let unlogged = "cannot access temporary or unlogged relations during recovery";
        let serializable = "cannot use serializable mode in a hot standby";
        let pooler = "no more connections allowed (max_client_conn)";
        let table = [
            ("0A000", unlogged, Some(Trouble::NotHere)),
            ("0A000", serializable, Some(Trouble::NotHere)),
            ("0A000", "cached plan must not change result type", None),
            ("08P01", pooler, Some(Trouble::Busy)),
            ("55000", "recovery is in progress", None),
            (
                "55000",
                "materialized view \"sums\" has not been populated",
                Some(Trouble::Conflict),
            ),
            ("55000", "Wiederherstellung läuft", None),
            ("08P01", "invalid message format", None),
        ];
        for (code, message, trouble) in table {
            assert_eq!(told_trouble(code, message), trouble, "{message}");
        }
    }

    #[test]
    fn what_was_answered_in_vain_was_sent_and_what_waited_in_vain_was_not() {
        let table = [(Fault::Unsure, true), (Fault::Discarded, false)];
        for (fault, was_sent) in table {
            assert_eq!(fault.trouble(), Trouble::Lost);
            assert_eq!(fault.was_sent(), was_sent, "{fault:?}");
        }
        let told = Fault::Unsure.into_db_err("r1", "db-2:5432").to_string();
        assert!(told.contains("r1 at db-2:5432"), "{told}");
    }

    #[test]
    fn a_full_pool_is_busy_and_a_cut_connection_is_lost() {
        let cut = || sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into());
        assert_eq!(
            Fault::Statement(DbErr::Query(RuntimeErr::SqlxError(Arc::new(cut())))).trouble(),
            Trouble::Lost
        );
        assert_eq!(Fault::Unreachable(cut()).trouble(), Trouble::Unreachable);
        let full = Fault::Saturated {
            max: 3,
            waited: Duration::from_secs(1),
        };
        assert_eq!(full.trouble(), Trouble::Busy);
        let text = full.into_db_err("r1", "db-2:5432").to_string();
        assert!(
            text.contains("r1 at db-2:5432")
                && text.contains("acquire_timeout")
                && text.contains("max"),
            "{text}"
        );
    }
}
