//! What PostgreSQL says beside its SQLSTATE.

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

use super::Trouble;

/// `None` when the SQLSTATE says enough, or the answer is that of another database.
pub(super) fn trouble(answer: &dyn DatabaseError) -> Option<Trouble> {
    let answer = answer.try_downcast_ref::<PgDatabaseError>()?;
    let ends = matches!(answer.severity(), PgSeverity::Fatal | PgSeverity::Panic);
    // The server ended a session that idled, as `idle_session_timeout` tells it. A function may raise the code too, in the middle
    // of what it does, but ends no session by that.
    (ends && answer.code() == "57P05").then_some(Trouble::Idled)
}
