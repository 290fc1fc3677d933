use std::time::Duration;

use crate::remote::{Lease, Remote, RemoteError};

/// How the lease of a key is asked for: the rules are the same for both.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask {
    First,
    Again,
}

impl Ask {
    pub(super) const BOTH: [Self; 2] = [Self::First, Self::Again];

    /// A key that the other way does not have.
    pub(super) fn key(self, key: &str) -> String {
        match self {
            Self::First => key.to_owned(),
            Self::Again => ["again:", key].concat(),
        }
    }

    pub(super) async fn lease(
        self,
        node: &dyn Remote,
        key: &str,
        token: u64,
        hold: Duration,
        over: Option<&[u8]>,
    ) -> Result<Lease, RemoteError> {
        match self {
            Self::First => node.lease(key, token, hold, over).await,
            Self::Again => node.lease_again(key, token, hold, over).await,
        }
    }
}
