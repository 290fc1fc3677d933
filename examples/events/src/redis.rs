//! The connection that only asks Redis whether it is there; the cache has its own.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::ClientLike;
use fred::types::Builder;
use fred::types::config::{Config, ReconnectPolicy};

/// A client that keeps trying.
#[derive(Clone)]
pub struct Redis {
    client: Client,
}

impl Redis {
    /// Begins to connect and does not wait for it.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn connect(url: &str) -> Result<Self, fred::error::Error> {
        let mut config = Config::from_url(url)?;
        // Otherwise fred gives up for ever when the first attempt fails.
        config.fail_fast = false;
        let client = Builder::from_config(config)
            .set_policy(ReconnectPolicy::new_exponential(0, 100, 2_000, 2))
            .build()?;
        drop(client.connect());
        Ok(Self { client })
    }

    /// Waits for the connection, at most this long; a Redis that comes later is found later.
    pub async fn connected_within(&self, limit: Duration) {
        let connected = tokio::time::timeout(limit, self.client.wait_for_connect()).await;
        if !matches!(connected, Ok(Ok(()))) {
            tracing::warn!("Redis does not answer; the service goes on from memory");
        }
    }

    /// For the health check.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Says goodbye, for half a second at most: without a server fred would wait for one.
    pub async fn close(&self) {
        // It may be gone already.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.client.quit()).await;
    }
}

// fred's own would show the password.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}
