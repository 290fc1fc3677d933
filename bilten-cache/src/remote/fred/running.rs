//! A fred client together with the task that drives it, and how both are made.

use std::time::Duration;

use fred::clients::Client;
use fred::prelude::{
    Builder, ClientLike, Config, Error, ErrorKind, EventInterface, ReconnectPolicy,
};
use fred::types::ConnectHandle;
use fred::types::config::{ReconnectError, Server, TcpConfig, UnresponsiveConfig};
use tokio::sync::broadcast;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    pub(super) connect_timeout: Duration,
    pub(super) command_timeout: Duration,
    /// Whether commands block in the server, so that a heartbeat behind one proves nothing: the answers to the commands have to.
    pub(super) blocking: bool,
}

/// One client. Its task, and with it every socket, ends when this is dropped: fred itself would keep both for ever.
pub(super) struct Running {
    pub(super) client: Client,
    pub(super) signals: Signals,
    task: ConnectHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn start(builder: &Builder) -> Result<Self, Error> {
        let client = builder.build()?;
        let signals = Signals::of(&client);
        let task = client.connect();
        Ok(Self {
            client,
            signals,
            task,
        })
    }

    /// Whether its task is over, which is by mistake: nobody calls `quit`.
    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Has it connect anew, within a time, unless it is about to: it would do so once more afterwards.
    pub(super) async fn reconnect(&self, limit: Duration) {
        if self.client.is_connected() {
            let _ = tokio::time::timeout(limit, self.client.force_reconnection()).await;
        }
    }
}

/// What fred tells about a client's connection, from before it connects.
pub(super) struct Signals {
    pub(super) errors: broadcast::Receiver<(Error, Option<Server>)>,
    connects: broadcast::Receiver<Server>,
}

impl Signals {
    fn of(client: &Client) -> Self {
        Self {
            errors: client.error_rx(),
            connects: client.reconnect_rx(),
        }
    }

    /// Why it is not connected, or `None`: it is. Of an end and a new connection that are both waiting here the end is older, or the
    /// next try to connect fails and tells again.
    pub(super) async fn next(&mut self) -> Option<Error> {
        tokio::select! {
            biased;
            Ok((error, _)) = self.errors.recv() => Some(error),
            Ok(_) = self.connects.recv() => None,
            // Closed, which only `quit` does.
            else => std::future::pending().await,
        }
    }
}

/// Makes clients for one purpose.
pub(super) struct Makes {
    config: Config,
    purpose: Purpose,
}

impl Makes {
    pub(super) fn new(config: &Config, purpose: Purpose) -> Self {
        Self {
            config: config.clone(),
            purpose,
        }
    }

    /// One that goes on trying to connect.
    pub(super) fn patient(&self) -> Result<Running, Error> {
        Running::start(&self.builder(false))
    }

    /// One that is connected, or nothing that is left of the try.
    pub(super) async fn connected(&self) -> Result<Running, Error> {
        let mut running = Running::start(&self.builder(true))?;
        tokio::select! {
            told = running.client.wait_for_connect() => told?,
            // It may have failed before anybody waited.
            ended = &mut running.task => return Err(match ended {
                Ok(Err(error)) => error,
                _ => Error::new(ErrorKind::Canceled, "Connection closed."),
            }),
            () = tokio::time::sleep(self.limit()) => return Err(Error::new(ErrorKind::Timeout, "")),
        }
        Ok(running)
    }

    /// The longest time that one try may take: each host may be asked in vain before the right one, which is connected to and
    /// then greeted.
    fn limit(&self) -> Duration {
        let hosts = u32::try_from(self.config.server.hosts().len()).unwrap_or(1);
        self.purpose
            .connect_timeout
            .saturating_mul(hosts.saturating_add(1))
    }

    fn builder(&self, gives_up: bool) -> Builder {
        let Purpose {
            connect_timeout,
            command_timeout,
            ..
        } = self.purpose;
        let mut builder = Builder::from_config(Config {
            fail_fast: gives_up,
            ..self.config.clone()
        });
        let clustered = self.config.server.is_clustered();
        builder.set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2));
        builder.with_performance_config(|performance| {
            performance.default_command_timeout = command_timeout;
            performance.broadcast_channel_capacity = 1_024;
        });
        builder.with_connection_config(|connection| {
            connection.connection_timeout = connect_timeout;
            connection.internal_command_timeout = connect_timeout;
            // Two is the least that follows a cluster's MOVED; one command must not run twice elsewhere.
            connection.max_command_attempts = if clustered { 2 } else { 1 };
            // Broken in fred 10.1: it never counts down again after its first refusal. The gate bounds instead.
            connection.max_command_buffer_len = 0;
            // Or a command waits until the server has acknowledged the one before it.
            connection.tcp = TcpConfig {
                nodelay: Some(true),
                ..TcpConfig::default()
            };
            connection.reconnect_on_auth_error = true;
            connection.reconnect_errors = vec![
                ReconnectError::ReadOnly,
                ReconnectError::Loading,
                ReconnectError::ClusterDown,
                ReconnectError::MasterDown,
            ];
            // It costs two timers for each command. For a single server the heartbeat finds out as well; of a cluster it only sees one.
            if clustered {
                connection.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(command_timeout.saturating_mul(4)),
                    interval: command_timeout,
                };
            }
        });
        builder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_does_not_wait_for_the_acknowledgement_of_the_one_before_it() {
        let purpose = Purpose {
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_secs(1),
            blocking: false,
        };
        let makes = Makes::new(&Config::default(), purpose);
        for gives_up in [false, true] {
            let client = makes.builder(gives_up).build().expect("it is valid");
            assert_eq!(client.connection_config().tcp.nodelay, Some(true));
        }
    }
}
