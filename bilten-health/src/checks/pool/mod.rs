//! How full the pool of a SeaORM connection is, for the drivers that are compiled in.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use super::saturation::Load;
use sea_orm::DatabaseConnection;
use std::any::Any;

type Reader = fn(&DatabaseConnection) -> Option<Load>;

const READERS: &[Reader] = &[
    #[cfg(feature = "mysql")]
    mysql::load,
    #[cfg(feature = "postgres")]
    postgres::load,
    #[cfg(feature = "sqlite")]
    sqlite::load,
];

/// None when it is no plain connection or its driver is not compiled in.
pub(super) fn load(connection: &dyn Any) -> Option<Load> {
    let connection = connection.downcast_ref::<DatabaseConnection>()?;
    READERS.iter().find_map(|reader| reader(connection))
}
