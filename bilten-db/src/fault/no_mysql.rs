//! Stands in where the driver of MySQL is not compiled in.

use sqlx::error::DatabaseError;

use super::Trouble;

pub(super) fn trouble(_answer: &dyn DatabaseError) -> Option<Trouble> {
    None
}
