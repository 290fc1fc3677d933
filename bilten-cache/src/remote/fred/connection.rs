//! Keeps a fred client alive, whatever happens to it.
//!
//! fred as it comes is not enough for a library: without a reconnect policy one disconnect makes every later
//! command hang, commands have no time limit, its check for silent servers is starved by traffic, and an ASK redirect
//! ends its router task. So every setting that bounds something is set, its task is watched, a PING of our own
//! counts missed answers, and a client that stays silent is replaced by a new one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::prelude::{
    Builder, ClientLike, Config, Error, ErrorKind, EventInterface, ReconnectPolicy,
};
use fred::types::ConnectHandle;
use fred::types::config::{Options, ReconnectError, Server, UnresponsiveConfig};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::reason::translate;
use crate::remote::RemoteError;

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
    cause: Arc<Cause>,
    /// Blocking reads that were sent since the last answer, given up or not.
    unanswered: Arc<AtomicU32>,
    options: Options,
    supervisor: AbortHandle,
}

/// Why the last try to connect failed; `None` once one succeeded.
#[derive(Debug, Default)]
struct Cause(RwLock<Option<RemoteError>>);

impl Cause {
    fn set(&self, cause: Option<RemoteError>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

impl Connection {
    /// Connects, or goes on trying in the background after the time limit.
    ///
    /// # Errors
    ///
    /// When the server is there and does not accept the credentials, or fred does not accept the settings.
    pub(super) async fn open(config: &Config, purpose: Purpose) -> Result<Self, RemoteError> {
        let builder = builder(config, purpose);
        let client = builder.build().map_err(|error| translate(&error))?;
        let cause = Arc::new(Cause::default());
        let mut signals = Signals::of(&client);
        let handle = client.connect();
        tokio::select! {
            _ = client.wait_for_connect() => {}
            error = signals.errors.recv() => match error {
                Ok((error, _)) if *error.kind() == ErrorKind::Auth => {
                    handle.abort();
                    return Err(translate(&error));
                }
                Ok((error, _)) => cause.set(Some(translate(&error))),
                Err(_) => {}
            },
            () = tokio::time::sleep(purpose.connect_timeout) => {}
        }
        let current = Arc::new(RwLock::new(client.clone()));
        let unanswered = Arc::new(AtomicU32::new(0));
        let supervisor = Supervisor {
            current: Arc::clone(&current),
            cause: Arc::clone(&cause),
            unanswered: Arc::clone(&unanswered),
            builder,
            purpose,
        };
        let supervisor = tokio::spawn(supervisor.run(client, handle, signals)).abort_handle();
        let options = Options {
            timeout: Some(purpose.command_timeout),
            fail_fast: true,
            ..Options::default()
        };
        Ok(Self {
            current,
            cause,
            unanswered,
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

    /// A read that blocks in the server is sent: where a heartbeat proves nothing, its answer has to.
    pub(super) fn asked(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered, or there was no connection to send it on.
    pub(super) fn heard(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// What an error of a command means. That there is no connection has a cause, which fred tells elsewhere.
    pub(super) fn explain(&self, error: &Error) -> RemoteError {
        let told = translate(error);
        let cause = self.cause.0.read().unwrap_or_else(PoisonError::into_inner);
        match (&told, &*cause) {
            (RemoteError::Unavailable(_) | RemoteError::Timeout, Some(cause)) => cause.clone(),
            _ => told,
        }
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

/// What fred tells about a client's connection, from before it connects.
struct Signals {
    errors: broadcast::Receiver<(Error, Option<Server>)>,
    connects: broadcast::Receiver<Server>,
}

impl Signals {
    fn of(client: &Client) -> Self {
        Self {
            errors: client.error_rx(),
            connects: client.reconnect_rx(),
        }
    }
}

/// Keeps one client after another alive.
struct Supervisor {
    current: Arc<RwLock<Client>>,
    cause: Arc<Cause>,
    unanswered: Arc<AtomicU32>,
    builder: Builder,
    purpose: Purpose,
}

impl Supervisor {
    /// Runs until it is aborted. Holds no lock while it waits.
    async fn run(self, mut client: Client, mut handle: ConnectHandle, mut signals: Signals) {
        loop {
            self.watch(&client, &mut handle, &mut signals).await;
            handle.abort();
            tracing::debug!("replacing a Redis client that stopped answering");
            let Ok(new) = self.builder.build() else {
                continue;
            };
            self.unanswered.store(0, Ordering::Relaxed);
            signals = Signals::of(&new);
            handle = new.connect();
            client = new.clone();
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }

    /// Returns when the client is beyond help.
    async fn watch(&self, client: &Client, handle: &mut ConnectHandle, signals: &mut Signals) {
        let mut misses = 0;
        let mut due = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                // The router task only ends by mistake: nobody calls `quit` while this runs.
                _ = &mut *handle => {
                    return tokio::time::sleep(HEARTBEAT).await;
                }
                Ok((error, _)) = signals.errors.recv() => {
                    self.cause.set(Some(translate(&error)));
                    continue;
                }
                Ok(_) = signals.connects.recv() => {
                    self.cause.set(None);
                    continue;
                }
                () = tokio::time::sleep_until(due) => due = Instant::now() + HEARTBEAT,
            }
            if self.purpose.blocking {
                // One may be waiting; when a second one is sent, the first was given up. fred's own check for silent
                // servers begins anew with each of them, so it never fires.
                if self.unanswered.load(Ordering::Relaxed) < 2 {
                    misses = 0;
                    continue;
                }
            } else if answers(client).await {
                self.cause.set(None);
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
}

async fn answers(client: &Client) -> bool {
    let options = Options {
        timeout: Some(HEARTBEAT),
        ..Options::default()
    };
    let ping = client.with_options(&options);
    let answer = tokio::time::timeout(2 * HEARTBEAT, ping.ping::<()>(None)).await;
    matches!(answer, Ok(Ok(())))
}
