//! The static error type of a database error.

use sea_orm::{ConnAcquireErr, DbErr, SqlErr};

use crate::outcome::Outcome;

pub(super) fn outcome<T>(result: &Result<T, DbErr>) -> Outcome {
    result
        .as_ref()
        .map_or_else(|error| Outcome::Error(kind(error)), |_| Outcome::Success)
}

fn kind(error: &DbErr) -> &'static str {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => return "unique_violation",
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => return "foreign_key_violation",
        _ => {}
    }
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => "pool_timeout",
        DbErr::ConnectionAcquire(_) => "pool_closed",
        DbErr::Conn(_) => "connection",
        DbErr::Exec(_) => "execution",
        DbErr::Query(_) => "query",
        DbErr::RecordNotFound(_) => "not_found",
        DbErr::RecordNotInserted | DbErr::RecordNotUpdated => "no_row_changed",
        DbErr::TryIntoErr { .. } | DbErr::Type(_) | DbErr::Json(_) | DbErr::ConvertFromU64(_) => {
            "conversion"
        }
        DbErr::Custom(_) => "custom",
        DbErr::AccessDenied { .. } | DbErr::RbacError(_) => "access_denied",
        _ => "DbErr",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::RuntimeErr;

    #[test]
    fn an_error_is_told_by_its_kind_and_never_by_its_text() {
        let secret = || RuntimeErr::Internal("postgres://user:secret@host".to_owned());
        let told = [
            (DbErr::Conn(secret()), "connection"),
            (DbErr::Query(secret()), "query"),
            (
                DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
                "pool_timeout",
            ),
            (DbErr::Custom("secret".to_owned()), "custom"),
            (DbErr::UnpackInsertId, "DbErr"),
        ];
        for (error, expected) in told {
            assert_eq!(outcome::<()>(&Err(error)), Outcome::Error(expected));
        }
    }
}
