use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::builder::{ADMIN, RedisBuilder};
use super::resp::Resp;
use crate::Error;
use crate::install;
use crate::machine::directory::{RunDirectory, set_mode};
use crate::machine::guardian::{Launch, Server};
use crate::machine::port::Port;
use crate::machine::program;
use crate::machine::user::ServerUser;
use crate::url::encode;
use crate::wait::until;

const READY_LIMIT: Duration = Duration::from_secs(10);
const COMMAND_LIMIT: Duration = Duration::from_secs(5);

/// A private Redis server on a loopback port of its own; it ends, with its directory, when this is dropped or
/// the process ends.
///
/// ```no_run
/// let redis = bilten_testbed::Redis::start()?;
/// redis.cli(&["SET", "k", "v"])?;
/// assert_eq!(redis.cli(&["GET", "k"])?, "v");
/// redis.kill()?;
/// redis.restart()?; // the same port, empty
/// assert_eq!(redis.cli(&["GET", "k"])?, "");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct Redis {
    server: Mutex<Server>,
    port: Port,
    options: RedisBuilder,
}

impl Redis {
    /// Starts an empty server without a password.
    ///
    /// # Errors
    /// When `redis-server` is missing or not ready in 10 s; the message holds the remedy or the log's end.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Options for a server.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    pub(super) fn start_with(options: &RedisBuilder) -> Result<Self, Error> {
        let mut tries = 0;
        loop {
            match Self::attempt(options) {
                Err(error) if error.is_port_taken() && tries < 5 => tries += 1,
                outcome => return outcome,
            }
        }
    }

    fn attempt(options: &RedisBuilder) -> Result<Self, Error> {
        let port = Port::reserve()?;
        let config = |directory: &RunDirectory| {
            options.config(port.number(), directory.path(), knows_debug())
        };
        let server = launch("redis", config)?;
        let redis = Self {
            server: Mutex::new(server),
            port,
            options: options.clone(),
        };
        redis.wait_ready()?;
        Ok(redis)
    }

    /// The URL with the credentials of the user the options name.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}", self.credentials(), self.port())
    }

    /// The URL of the unix socket, `redis+unix:///path`, when it was asked for.
    #[must_use]
    pub fn unix_url(&self) -> Option<String> {
        let credentials = self.credentials();
        // The form needs a host when there are credentials; it is not used.
        let host = if credentials.is_empty() {
            ""
        } else {
            "localhost"
        };
        Some(format!(
            "redis+unix://{credentials}{host}{}",
            self.unix_path()?.display()
        ))
    }

    /// The path of the unix socket, when it was asked for.
    #[must_use]
    pub fn unix_path(&self) -> Option<PathBuf> {
        self.options
            .unix_socket
            .then(|| self.server().directory().join("redis.sock"))
    }

    /// The port it listens on; it stays the same over [`Self::restart`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The process number of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server().pid()
    }

    /// Runs a command as the user with all rights and answers as `redis-cli` prints: lists line by line, nil empty.
    ///
    /// # Errors
    /// The server's error, or that it does not answer within 5 s.
    pub fn cli(&self, words: &[&str]) -> Result<String, Error> {
        self.admin()?.text(words)
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// When it cannot be ended within 10 s.
    pub fn kill(&self) -> Result<(), Error> {
        self.server().kill()
    }

    /// Starts it again on the same port, empty; a server that still runs is killed first.
    ///
    /// # Errors
    /// When it is not ready in 10 s.
    pub fn restart(&self) -> Result<(), Error> {
        let mut server = self.server();
        server.kill()?;
        server.start_again()?;
        drop(server);
        self.wait_ready()
    }

    /// SIGSTOP: the kernel still accepts connections, nobody answers.
    ///
    /// # Errors
    /// When it does not stop within 10 s.
    pub fn pause(&self) -> Result<(), Error> {
        self.server().pause()
    }

    /// SIGCONT after [`Self::pause`].
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> Result<(), Error> {
        self.server().resume()
    }

    /// Its directory: the log, the configuration, the data. It goes with the server.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.server().directory().to_path_buf()
    }

    /// The last 40 lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server().log_tail()
    }

    fn admin(&self) -> Result<Resp, Error> {
        let mut connection = Resp::connect(self.addr(), COMMAND_LIMIT)?;
        if self.options.user.is_some() {
            connection.text(&["AUTH", ADMIN.0, ADMIN.1])?;
        } else if let Some(password) = &self.options.password {
            connection.text(&["AUTH", password])?;
        }
        Ok(connection)
    }

    fn credentials(&self) -> String {
        if let Some(user) = &self.options.user {
            return format!("{}:{}@", encode(&user.name), encode(&user.password));
        }
        self.options
            .password
            .as_ref()
            .map(|password| format!(":{}@", encode(password)))
            .unwrap_or_default()
    }

    fn wait_ready(&self) -> Result<(), Error> {
        wait_ready(&self.server(), self.addr())
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the configuration and starts `redis-server` on it.
pub(super) fn launch(
    kind: &str,
    config: impl FnOnce(&RunDirectory) -> String,
) -> Result<Server, Error> {
    let program = program().ok_or_else(|| Error::missing("redis-server", install::remedy()))?;
    let directory = RunDirectory::make(kind)?;
    let user = ServerUser::current()?;
    let (work, file) = (
        directory.path().join("data"),
        directory.path().join("redis.conf"),
    );
    fs::create_dir(&work).map_err(|e| Error::io(format!("make {}", work.display()), e))?;
    fs::write(&file, config(&directory))
        .map_err(|e| Error::io(format!("write {}", file.display()), e))?;
    // It holds passwords.
    set_mode(&file, 0o600)?;
    user.own(&work)?;
    user.own(&file)?;
    let command = vec![
        program.to_string_lossy().into_owned(),
        file.to_string_lossy().into_owned(),
    ];
    Server::start(
        directory,
        Launch {
            command,
            work,
            polite: "KILL",
        },
    )
}

/// Waits for the first answer, whatever it is: one that asks for a password is one too.
pub(super) fn wait_ready(server: &Server, address: SocketAddr) -> Result<(), Error> {
    let name = || format!("redis-server on {address}");
    let answer = until("an answer to PING", READY_LIMIT, || {
        if !server.is_running() {
            return Ok(Err("it ended"));
        }
        match Resp::connect(address, Duration::from_secs(1))
            .and_then(|mut connection| connection.text(&["PING"]))
        {
            Ok(_) => Ok(Ok(())),
            Err(Error::Refused { answer, .. }) if answer.starts_with("NOAUTH") => Ok(Ok(())),
            Err(error) => Err(error.to_string()),
        }
    });
    match answer {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(Error::NotReady {
            server: name(),
            reason: reason.to_owned(),
            log: server.log_tail(),
        }),
        Err(late) => Err(Error::NotReady {
            server: name(),
            reason: late.to_string(),
            log: server.log_tail(),
        }),
    }
}

/// `redis-server`, or Valkey, which is the same to us.
pub(crate) fn program() -> Option<PathBuf> {
    ["redis-server", "valkey-server"]
        .into_iter()
        .find_map(program::find)
}

/// `DEBUG` must be allowed since Redis 7.0; before, the option is unknown.
fn knows_debug() -> bool {
    static KNOWS: OnceLock<bool> = OnceLock::new();
    *KNOWS.get_or_init(|| {
        program()
            .and_then(|path| program::version(&path))
            .is_some_and(|line| major_version(&line) >= 7)
    })
}

fn major_version(line: &str) -> u32 {
    let version = line.split_once("v=").map_or("", |(_, rest)| rest);
    version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_the_version_line() {
        assert_eq!(
            major_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"),
            7
        );
        assert_eq!(major_version("Valkey server v=8.1.0 sha=0"), 8);
        assert_eq!(major_version("unknown"), 0);
    }
}
