//! What a driver is given, and the pool it makes of it.

use std::sync::Arc;

use metrics::Histogram;
use tokio::sync::Notify;

use super::pool::SqlxPool;
use super::{Backend, Driver};
use crate::{Error, PoolConfig};

/// What a node is to be opened with.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// What the node is called.
    pub(crate) id: Arc<str>,
    /// The name under which the URL was given.
    pub(crate) field: &'a str,
    pub(crate) url: &'a str,
    pub(crate) pool: PoolConfig,
    pub(crate) read_only: bool,
    pub(crate) suspicion: Arc<Notify>,
    pub(crate) acquire_seconds: Histogram,
}

#[allow(dead_code, reason = "used by the drivers that are compiled in")]
pub(super) fn open_pool<D: Driver>(target: Target<'_>) -> Result<Arc<dyn Backend>, Error> {
    // The driver's own message is kept out: it may quote the URL.
    let options = D::parse(target.url).map_err(|_| {
        Error::invalid(
            target.field,
            "is not a URL that the driver understands",
            "percent-encode special characters (@ is %40, / is %2F, # is %23), and check the host and the parameters",
        )
    })?;
    let Target {
        id,
        pool,
        read_only,
        suspicion,
        acquire_seconds,
        ..
    } = target;
    Ok(Arc::new(SqlxPool::<D>::new(
        id,
        options,
        pool,
        read_only,
        suspicion,
        acquire_seconds,
    )))
}
