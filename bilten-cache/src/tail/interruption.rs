//! What may come between a process and the log.

use crate::remote::RemoteError;

/// Why following the log was interrupted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("an invalidation that waits could not be delivered: {0}")]
    Undelivered(RemoteError),
    #[error("records of the log are missing")]
    Gap,
    #[error("the log was lost or replaced")]
    Lost,
    #[error("no process that writes has begun a log yet")]
    Unwritten,
    #[error("another program wrote a record into the log, far ahead of ours")]
    Foreign,
}
