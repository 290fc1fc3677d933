//! Keeps a fred client alive, whatever happens to it.
//!
//! fred as it comes is not enough for a library: without a reconnect policy one disconnect makes every later
//! command hang, commands have no time limit, its check for silent servers is starved by traffic, and an ASK redirect
//! ends its router task. So every setting that bounds something is set, its task is watched, a PING of our own
//! counts missed answers, and a client that stays silent is replaced by a new one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::prelude::{
    Builder, ClientLike, Config, Error, ErrorKind, EventInterface, ReconnectPolicy,
};
use fred::types::ConnectHandle;
use fred::types::config::{Options, ReconnectError, UnresponsiveConfig};
use tokio::task::AbortHandle;

/// How often the server is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Missed heartbeats until the connection is made anew, and until the client is.
const MISSES_TO_RECONNECT: u32 = 2;
const MISSES_TO_REPLACE: u32 = 6;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    /// Whether commands block in the server, so that a heartbeat behind one proves nothing.
    pub(super) blocking: bool,
}

/// One supervised client.
#[derive(Debug)]
pub(super) struct Connection {
    current: Arc<RwLock<Client>>,
    options: Options,
    supervisor: AbortHandle,
}

impl Connection {
    /// Connects, or goes on trying in the background after the time limit.
    ///
    /// # Errors
    ///
    /// When the server is there and does not accept the credentials, or fred does not accept the settings.
    pub(super) async fn open(config: &Config, purpose: Purpose) -> Result<Self, Error> {
        let builder = builder(config, purpose);
        let client = builder.build()?;
        let mut errors = client.error_rx();
        let handle = client.connect();
        tokio::select! {
            _ = client.wait_for_connect() => {}
            error = errors.recv() => match error {
                Ok((error, _)) if *error.kind() == ErrorKind::Auth => {
                    handle.abort();
                    return Err(error);
                }
                _ => {}
            },
            () = tokio::time::sleep(purpose.connect_timeout) => {}
        }
        let current = Arc::new(RwLock::new(client));
        let supervisor =
            tokio::spawn(supervise(Arc::clone(&current), handle, builder, purpose)).abort_handle();
        let options = Options {
            timeout: Some(purpose.command_timeout),
            fail_fast: true,
            ..Options::default()
        };
        Ok(Self {
            current,
            options,
            supervisor,
        })
    }

    /// The client, with a time limit on each command that fred itself knows: a command given up before it was written is
    /// then not sent later.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .with_options(&self.options)
    }

    /// Says goodbye to the server and ends the client. Without it fred keeps the socket and its task for ever.
    pub(super) async fn close(&self) {
        self.supervisor.abort();
        let client = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let _ = tokio::time::timeout(HEARTBEAT, client.quit()).await;
    }

    pub(super) fn is_clustered(&self) -> bool {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_clustered()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.supervisor.abort();
        let client = self
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // Without `quit` fred keeps the socket and its task for ever.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { tokio::time::timeout(HEARTBEAT, client.quit()).await });
        }
    }
}

fn builder(config: &Config, purpose: Purpose) -> Builder {
    let mut builder = Builder::from_config(config.clone());
    let clustered = config.server.is_clustered();
    builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = purpose.command_timeout;
        performance.broadcast_channel_capacity = 1_024;
    });
    builder.with_connection_config(|connection| {
        connection.connection_timeout = purpose.connect_timeout;
        connection.internal_command_timeout = purpose.connect_timeout;
        // Two is the least that follows a cluster's MOVED; one command must not run twice elsewhere.
        connection.max_command_attempts = if clustered { 2 } else { 1 };
        // Broken in fred 10.1: it never counts down again after its first refusal. The gate bounds instead.
        connection.max_command_buffer_len = 0;
        connection.reconnect_on_auth_error = true;
        connection.reconnect_errors = vec![
            ReconnectError::ReadOnly,
            ReconnectError::Loading,
            ReconnectError::ClusterDown,
            ReconnectError::MasterDown,
        ];
        connection.unresponsive = UnresponsiveConfig {
            max_timeout: Some(purpose.command_timeout * 4),
            interval: purpose.command_timeout,
        };
    });
    builder
}

/// Runs until it is aborted. Holds no lock while it waits.
async fn supervise(
    current: Arc<RwLock<Client>>,
    mut handle: ConnectHandle,
    builder: Builder,
    purpose: Purpose,
) {
    let mut client = current
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    loop {
        watch(&client, &mut handle, purpose).await;
        handle.abort();
        tracing::warn!("replacing a Redis client that stopped answering");
        let Ok(new) = builder.build() else { continue };
        handle = new.connect();
        let old = std::mem::replace(&mut client, new.clone());
        *current.write().unwrap_or_else(PoisonError::into_inner) = new;
        drop(old);
    }
}

/// Returns when the client is beyond help.
async fn watch(client: &Client, handle: &mut ConnectHandle, purpose: Purpose) {
    let mut misses = 0;
    let options = Options {
        timeout: Some(HEARTBEAT),
        ..Options::default()
    };
    loop {
        tokio::select! {
            // The router task only ends by mistake: nobody calls `quit` while this runs.
            _ = &mut *handle => {
                return tokio::time::sleep(HEARTBEAT).await;
            }
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        if purpose.blocking {
            continue;
        }
        let ping = client.with_options(&options);
        let answer = tokio::time::timeout(2 * HEARTBEAT, ping.ping::<()>(None)).await;
        if matches!(answer, Ok(Ok(()))) {
            misses = 0;
            continue;
        }
        misses += 1;
        if misses == MISSES_TO_RECONNECT {
            let _ = tokio::time::timeout(HEARTBEAT, client.force_reconnection()).await;
        } else if misses >= MISSES_TO_REPLACE {
            return;
        }
    }
}
