//! Keeps a fred client alive, whatever happens to it.
//!
//! fred as it comes is not enough for a library: without a reconnect policy one disconnect makes every later
//! command hang, commands have no time limit, its check for silent servers is starved by traffic, and an ASK redirect
//! ends its router task. So every setting that bounds something is set, its task is watched, and what it reports
//! about itself does not count: only an answer of the server does. A client that gives none for a while is told to connect
//! anew, and a while later a second client is laid beside it, which takes its place once it is connected. The first one
//! stays in use until then: a server that was only frozen goes on where it stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::prelude::{ClientLike, Config, Error, ErrorKind};
use fred::types::config::Options;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::reason::{is_answer, translate};
use super::running::{Makes, Purpose, Running};
use crate::remote::RemoteError;
use crate::remote::silence::Silence;

/// How often the server is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long it may give no answer until the client has to connect anew, and until another client is made.
const RECONNECTS_AFTER: Duration = Duration::from_millis(1_500);
const REPLACES_AFTER: Duration = Duration::from_secs(3);
/// How long a client that was replaced is kept: what is under way on it may still end well.
const LINGERS: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One supervised client.
#[derive(Debug)]
pub(super) struct Connection {
    current: Arc<Current>,
    options: Options,
    /// For reads: without a time limit of their own.
    unlimited: Options,
    clustered: bool,
    supervisor: AbortHandle,
}

#[derive(Debug)]
struct Current {
    client: RwLock<Client>,
    /// Whether the client in use has told that it has no connection.
    is_cut: AtomicBool,
    /// How the last connection ended, or why the last try to connect failed. `None` once one succeeded.
    cause: RwLock<Option<RemoteError>>,
    silence: Silence,
}

impl Current {
    fn client(&self) -> Client {
        self.client
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, client: Client) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
        self.silence.heard();
        self.connected(None);
    }

    /// The client in use has a connection, or has none for this reason.
    fn connected(&self, cause: Option<RemoteError>) {
        let is_cut = cause.is_some();
        self.note(cause);
        self.is_cut.store(is_cut, Ordering::Release);
    }

    fn cause(&self) -> Option<RemoteError> {
        let cause = self.cause.read();
        cause.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, cause: Option<RemoteError>) {
        *self.cause.write().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

impl Connection {
    /// Connects, or goes on trying in the background after the time limit.
    ///
    /// # Errors
    ///
    /// When the server is there and does not accept the credentials, or fred does not accept the settings.
    pub(super) async fn open(config: &Config, purpose: Purpose) -> Result<Self, RemoteError> {
        let makes = Makes::new(config, purpose);
        let mut first = makes.patient().map_err(|error| translate(&error))?;
        let mut cause = None;
        tokio::select! {
            _ = first.client.wait_for_connect() => {}
            error = first.signals.errors.recv() => match error {
                Ok((error, _)) if *error.kind() == ErrorKind::Auth => return Err(translate(&error)),
                Ok((error, _)) => cause = Some(translate(&error)),
                Err(_) => {}
            },
            () = tokio::time::sleep(purpose.connect_timeout) => {}
        }
        let current = Arc::new(Current {
            client: RwLock::new(first.client.clone()),
            is_cut: AtomicBool::new(cause.is_some()),
            cause: RwLock::new(cause),
            silence: Silence::new(),
        });
        let supervisor = Supervisor {
            current: Arc::clone(&current),
            makes,
            blocking: purpose.blocking,
        };
        let options = Options {
            timeout: Some(purpose.command_timeout),
            fail_fast: true,
            ..Options::default()
        };
        let unlimited = Options {
            timeout: Some(Duration::ZERO),
            ..options.clone()
        };
        Ok(Self {
            current,
            options,
            unlimited,
            clustered: config.server.is_clustered(),
            supervisor: tokio::spawn(supervisor.run(first)).abort_handle(),
        })
    }

    /// The client, with a time limit on each command that fred itself knows: a command given up before it was written is
    /// then not sent later.
    ///
    /// # Errors
    ///
    /// When there is no connection, with the cause: until its first try to connect anew has failed, fred would keep a command
    /// for all of its time limit. On a cluster one server's end says nothing of the others.
    pub(super) fn client(&self) -> Result<WithOptions<Client>, RemoteError> {
        self.with(&self.options)
    }

    /// The same for reads and leases, on one server without a time limit: whoever makes them has one already, and one that is sent after it was given up
    /// does no harm: a lease ends by itself. A timer for each is a good part of what a read costs. On a cluster fred may keep a read for a server that is gone, and
    /// everything behind it.
    ///
    /// # Errors
    ///
    /// As for [`client`](Self::client).
    pub(super) fn reader(&self) -> Result<WithOptions<Client>, RemoteError> {
        match self.clustered {
            true => self.client(),
            false => self.with(&self.unlimited),
        }
    }

    fn with(&self, options: &Options) -> Result<WithOptions<Client>, RemoteError> {
        if !self.clustered && self.current.is_cut.load(Ordering::Acquire) {
            let cause = self.current.cause();
            return Err(cause.unwrap_or_else(|| RemoteError::Unavailable("it was lost".to_owned())));
        }
        Ok(self.current.client().with_options(options))
    }

    /// Ends the client with its task and its sockets, and what was about to take its place.
    pub(super) async fn close(&self) {
        self.supervisor.abort();
        // Until it has ended it may make another client.
        while !self.supervisor.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// A read that blocks in the server is sent: where a heartbeat proves nothing, its answer has to.
    pub(super) fn asked(&self) {
        self.current.silence.asked();
    }

    /// How it ended. What fred says by itself is no answer.
    pub(super) fn ended(&self, error: Option<&Error>) {
        if error.is_none_or(is_answer) {
            self.current.silence.heard();
        }
    }

    /// What an error of a command means. That there is no connection has a cause, which fred tells elsewhere.
    pub(super) fn explain(&self, error: &Error) -> RemoteError {
        let told = translate(error);
        match (&told, self.current.cause()) {
            (RemoteError::Unavailable(_) | RemoteError::Timeout, Some(cause)) => cause,
            _ => told,
        }
    }

    pub(super) fn is_clustered(&self) -> bool {
        self.clustered
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The client's task ends with the supervisor, which owns it.
        self.supervisor.abort();
    }
}

/// Keeps one client after another alive.
struct Supervisor {
    current: Arc<Current>,
    makes: Makes,
    blocking: bool,
}

impl Supervisor {
    /// Runs until it is aborted. Holds no lock while it waits.
    async fn run(self, mut running: Running) {
        loop {
            self.watch(&mut running).await;
            tracing::debug!("making another Redis client beside one that gives no answers");
            if let Some(new) = self.successor(&running).await {
                self.current.replace(new.client.clone());
                let old = std::mem::replace(&mut running, new);
                tokio::time::sleep(LINGERS).await;
                drop(old);
            }
        }
    }

    /// Returns when the client needs help from outside.
    async fn watch(&self, running: &mut Running) {
        let mut reconnected = false;
        let mut due = Instant::now() + HEARTBEAT;
        while !running.has_ended() {
            tokio::select! {
                told = running.signals.next() => {
                    self.current.connected(told.map(|error| translate(&error)));
                    continue;
                }
                () = tokio::time::sleep_until(due) => due = Instant::now() + HEARTBEAT,
            }
            if !self.blocking {
                self.ask(&running.client).await;
            }
            let silent = self.current.silence.lasts();
            if silent >= REPLACES_AFTER {
                return;
            }
            if silent < RECONNECTS_AFTER {
                reconnected = false;
            } else if !reconnected {
                reconnected = true;
                running.reconnect(HEARTBEAT).await;
            }
        }
    }

    /// Makes another client, however often that takes. `None`: the first one has come back by itself.
    async fn successor(&self, running: &Running) -> Option<Running> {
        let mut pause = FIRST_PAUSE;
        loop {
            let new = self.makes.connected().await;
            if self.is_back(running).await {
                self.current.connected(None);
                return None;
            }
            match new {
                Ok(new) => return Some(new),
                Err(error) => self.current.note(Some(translate(&error))),
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn is_back(&self, running: &Running) -> bool {
        if running.has_ended() {
            return false;
        }
        if !self.blocking {
            self.ask(&running.client).await;
        }
        self.current.silence.lasts().is_zero()
    }

    /// Asks whether the server is there. Any answer will do, also a refusal.
    async fn ask(&self, client: &Client) {
        self.current.silence.asked();
        let options = Options {
            timeout: Some(HEARTBEAT),
            fail_fast: true,
            ..Options::default()
        };
        let ping = client.with_options(&options);
        let answer = tokio::time::timeout(2 * HEARTBEAT, ping.ping::<()>(None)).await;
        let answered = match answer {
            Ok(Ok(())) => true,
            Ok(Err(error)) => is_answer(&error),
            Err(_) => false,
        };
        if answered {
            self.current.silence.heard();
            self.current.connected(None);
        }
    }
}
