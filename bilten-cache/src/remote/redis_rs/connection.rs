//! Keeps a line of redis-rs alive, whatever happens to it.
//!
//! redis-rs ends a connection at its first error and leaves the rest to its user; its connection manager asks
//! nobody whether a silent server is still there. So a task of ours asks, and lays a new line beside an old one that
//! broke or fell silent. The old one stays in use until the new one answers: a server that was only frozen goes on
//! where it stopped.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::reason::{failure, is_answer, is_authentication, translate};
use super::target::{Line, Purpose, Target};
use crate::remote::RemoteError;
use crate::remote::silence::Silence;

/// How often the server is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long it may give no answer until another line is laid.
const REPLACES_AFTER: Duration = Duration::from_millis(1_500);
/// What the first try gets above its time limit, so that the cause is known when it runs out of it.
const GRACE: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One supervised line.
pub(super) struct Connection {
    current: Arc<Current>,
    limit: Duration,
    blocking: bool,
    clustered: bool,
    supervisor: AbortHandle,
}

struct Current {
    line: RwLock<Option<Line>>,
    /// Why no line could be laid the last time.
    cause: RwLock<Option<RemoteError>>,
    broken: Notify,
    silence: Silence,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, or goes on trying in the background after the time limit.
    ///
    /// # Errors
    ///
    /// When the server is there and does not accept the credentials.
    pub(super) async fn open(target: Target, purpose: Purpose) -> Result<Self, RemoteError> {
        let current = Arc::new(Current {
            line: RwLock::default(),
            cause: RwLock::default(),
            broken: Notify::new(),
            silence: Silence::new(),
        });
        let clustered = target.is_clustered();
        let (tell, first) = oneshot::channel();
        let supervisor = Supervisor {
            target,
            purpose,
            current: Arc::clone(&current),
            first: Some(tell),
        };
        // From here on dropping this future ends the task.
        let connection = Self {
            current,
            limit: purpose.command_timeout,
            blocking: purpose.blocking,
            clustered,
            supervisor: tokio::spawn(supervisor.run()).abort_handle(),
        };
        let limit = purpose.connect_timeout.saturating_add(GRACE);
        match tokio::time::timeout(limit, first).await {
            Ok(Ok(Err(error))) if is_authentication(&error) => Err(translate(&error)),
            _ => Ok(connection),
        }
    }

    /// Gives the line up; it ends with the calls that are still on it.
    pub(super) async fn close(&self) {
        self.supervisor.abort();
        // Until it has ended it may lay another line.
        while !self.supervisor.is_finished() {
            tokio::task::yield_now().await;
        }
        let line = &self.current.line;
        let old = line.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(old);
    }

    pub(super) fn is_clustered(&self) -> bool {
        self.clustered
    }

    /// Sends one command. It fails at once where there is no line, and is not sent later.
    pub(super) async fn call(&self, cmd: &Cmd) -> RedisResult<Value> {
        self.ask(async |mut line: Line| line.run(cmd).await).await
    }

    /// Sends several at once, as [`call`](Self::call) does one. What the server refuses is a value here.
    pub(super) async fn call_in_turn(
        &self,
        commands: &Pipeline,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        let ask = async |mut line: Line| line.run_in_turn(commands, count).await;
        self.ask(ask).await
    }

    async fn ask<T>(&self, ask: impl AsyncFnOnce(Line) -> RedisResult<T>) -> RedisResult<T> {
        let Some(line) = self.current.line() else {
            return failure(io::ErrorKind::NotConnected);
        };
        if self.blocking {
            // A caller that gives up before the time limit counts as one that got no answer.
            self.current.silence.asked();
        }
        let answer = tokio::time::timeout(self.limit, ask(line)).await;
        let answer = answer.unwrap_or_else(|_| failure(io::ErrorKind::TimedOut));
        self.current.ended(&answer);
        if let Err(error) = &answer
            && asks_for_another(error)
        {
            self.current.broken.notify_one();
        }
        answer
    }

    /// What an error of a call means. That there is no connection has a cause, which is known to whoever tried to make one.
    pub(super) fn explain(&self, error: &RedisError) -> RemoteError {
        let told = translate(error);
        let cause = self.current.cause.read();
        let cause = cause.unwrap_or_else(PoisonError::into_inner);
        match (&told, &*cause) {
            (RemoteError::Unavailable(_) | RemoteError::Timeout, Some(cause)) => cause.clone(),
            _ => told,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Current {
    fn line(&self) -> Option<Line> {
        self.line
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, cause: Option<RemoteError>) {
        *self.cause.write().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    fn replace(&self, line: Line) {
        let old = self
            .line
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(line);
        drop(old);
        self.silence.heard();
    }

    fn ended<T>(&self, answer: &RedisResult<T>) {
        if answer.as_ref().err().is_none_or(is_answer) {
            self.silence.heard();
        }
    }
}

/// Whether another line may do better: this one is dead, or the server at its end is not, or no longer, the right one.
/// A time limit alone says nothing; heartbeats decide then.
fn asks_for_another(error: &RedisError) -> bool {
    if error.is_timeout() {
        return false;
    }
    error.is_unrecoverable_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
            )
        )
}

struct Supervisor {
    target: Target,
    purpose: Purpose,
    current: Arc<Current>,
    first: Option<oneshot::Sender<RedisResult<()>>>,
}

impl Supervisor {
    /// Runs until it is aborted. Holds no lock while it waits.
    async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let mut pause = FIRST_PAUSE;
            while let Err(error) = self.lay(attempt).await {
                attempt += 1;
                if let Some(first) = self.first.take() {
                    let _ = first.send(Err(error));
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                // What was only frozen goes on where it stopped.
                if self.answers().await {
                    self.current.note(None);
                    break;
                }
            }
            if let Some(first) = self.first.take() {
                let _ = first.send(Ok(()));
            }
            self.watch().await;
        }
    }

    async fn lay(&self, attempt: usize) -> RedisResult<()> {
        let line = tokio::time::timeout(self.target.limit(), self.target.lay(attempt)).await;
        let line = line.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        self.current.note(line.as_ref().err().map(translate));
        self.current.replace(line?);
        Ok(())
    }

    /// Returns when the line needs to be replaced.
    async fn watch(&self) {
        // Refusals of a server that is there, a read-only one for example, must not become a storm of new lines.
        tokio::time::sleep(FIRST_PAUSE).await;
        while self.current.silence.lasts() < REPLACES_AFTER {
            tokio::select! {
                () = self.current.broken.notified() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            self.answers().await;
        }
    }

    /// Whether the line in use works.
    async fn answers(&self) -> bool {
        let Some(mut line) = self.current.line() else {
            return false;
        };
        if !self.purpose.blocking {
            self.current.silence.asked();
            let answer = tokio::time::timeout(HEARTBEAT, line.run(&self.target.probe)).await;
            self.current
                .ended(&answer.unwrap_or_else(|_| failure(io::ErrorKind::TimedOut)));
        }
        self.current.silence.lasts().is_zero()
    }
}
