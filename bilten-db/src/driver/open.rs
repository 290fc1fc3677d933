//! From a URL to something that runs statements.

#[cfg(not(feature = "mysql"))]
use self::missing as mysql;
#[cfg(not(feature = "postgres"))]
use self::missing as postgres;
#[cfg(not(feature = "sqlite"))]
use self::missing as sqlite;
#[cfg(feature = "mysql")]
use super::mysql;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;

use std::sync::Arc;

use metrics::Histogram;
use sea_orm::DbBackend;
use tokio::sync::Notify;

use super::pool::SqlxPool;
use super::{Backend, Driver};
use crate::address::{backend_of, check_authority, check_file, check_parameters};
use crate::{Error, PoolConfig};

/// What a node is to be opened with.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The name under which the URL was given.
    pub(crate) field: &'a str,
    pub(crate) url: &'a str,
    pub(crate) pool: PoolConfig,
    pub(crate) read_only: bool,
    pub(crate) suspicion: Arc<Notify>,
    pub(crate) acquire_seconds: Histogram,
}

/// Checks the URL and makes a pool; connects to nothing yet.
pub(crate) fn open(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    let backend = backend_of(target.field, target.url)?;
    match backend {
        DbBackend::MySql => mysql::open(target),
        DbBackend::Sqlite => {
            check_file(target.field, target.url)?;
            sqlite::open(target)
        }
        _ => {
            check_authority(target.field, target.url)?;
            check_parameters(target.field, target.url)?;
            postgres::open(target)
        }
    }
}

/// Makes the pool for a server that is reached through a URL with an authority.
#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(super) fn open_server<D: Driver>(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    check_authority(target.field, target.url)?;
    open_pool::<D>(target)
}

#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(super) fn open_pool<D: Driver>(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    // The driver's own message is kept out: it may quote the URL.
    let options = D::parse(target.url).map_err(|_| {
        Error::invalid(
            target.field,
            "is not a URL that the driver understands",
            "percent-encode special characters (@ is %40, / is %2F, # is %23) and check the port and the parameters",
        )
    })?;
    let Target {
        pool,
        read_only,
        suspicion,
        acquire_seconds,
        ..
    } = target;
    Ok(Arc::new(SqlxPool::<D>::new(
        options,
        pool,
        read_only,
        suspicion,
        acquire_seconds,
    )))
}

/// Stands in for a driver that is not compiled in.
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "takes what a driver takes; unused when every driver is compiled in"
)]
mod missing {
    use super::{Arc, Backend, Error, Target, backend_of};

    pub(super) fn open(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
        let feature = format!("{:?}", backend_of(target.field, target.url)?).to_lowercase();
        Err(Error::invalid(
            target.field,
            format!("needs the driver for {feature}, which is not compiled in"),
            format!("turn on the feature `{feature}` of bilten-db"),
        ))
    }
}
