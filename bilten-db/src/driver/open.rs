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

use sea_orm::DbBackend;

use super::Backend;
use super::target::Target;
use crate::Error;
use crate::address::{check, with_plain_scheme};

/// Makes the pool that a URL means. Connects to nothing yet.
pub(crate) fn open(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    let url = with_plain_scheme(target.url);
    let target = Target {
        url: &url,
        ..target
    };
    match check(target.field, target.url)? {
        DbBackend::MySql => mysql::open(target),
        DbBackend::Sqlite => sqlite::open(target),
        _ => postgres::open(target),
    }
}

/// Stands in for a driver that is not compiled in.
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "takes what a driver takes; unused when every driver is compiled in"
)]
mod missing {
    use super::{Arc, Backend, Error, Target};
    use crate::address::backend_of;

    pub(super) fn open(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
        let feature = format!("{:?}", backend_of(target.field, target.url)?).to_lowercase();
        Err(Error::invalid(
            target.field,
            format!("needs the driver for {feature}, which is not compiled in"),
            format!("turn on the feature `{feature}` of bilten-db"),
        ))
    }
}
