//! Stands in where the driver of a database is not compiled in.

use sqlx::error::DatabaseError;

use super::Trouble;

pub(super) fn trouble(_answer: &dyn DatabaseError) -> Option<Trouble> {
    None
}
