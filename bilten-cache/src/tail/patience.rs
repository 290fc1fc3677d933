//! How long a call beside the ways of the calls may take.

use std::future::Future;
use std::time::Duration;

use crate::remote::{RemoteError, whole};

/// What a call that should answer at once may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn within<T, Reply>(
    limit: Duration,
    call: impl FnOnce() -> Reply,
) -> Result<T, RemoteError>
where
    Reply: Future<Output = Result<T, RemoteError>>,
{
    // A store of somebody's own may panic before it has a future to give.
    tokio::time::timeout(limit, whole(async { call().await }))
        .await
        .unwrap_or(Err(RemoteError::Timeout))
}
