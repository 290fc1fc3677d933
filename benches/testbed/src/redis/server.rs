use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::builder::{ADMIN, Ports, RedisBuilder};
use super::launch::{launch, wait_ready};
use super::resp::Resp;
use super::tls::TlsFiles;
use crate::Error;
use crate::machine::instance::Instance;
use crate::machine::port::Port;
use crate::url::encode;
use crate::wait::until;

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
    server: Mutex<Box<dyn Instance>>,
    port: Port,
    // With TLS, the plain port that our own commands use.
    admin_port: Option<Port>,
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
            match Self::on(options.clone(), Port::reserve()?).and_then(Self::ready) {
                Err(error) if error.is_port_taken() && tries < 5 => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Starts on a port that was chosen before, without waiting.
    pub(super) fn on(options: RedisBuilder, port: Port) -> Result<Self, Error> {
        let admin_port = options.tls.then(Port::reserve).transpose()?;
        let ports = match &admin_port {
            Some(admin) => Ports {
                plain: admin.number(),
                tls: Some(port.number()),
            },
            None => Ports {
                plain: port.number(),
                tls: None,
            },
        };
        let server = Mutex::new(launch(&options, ports)?);
        Ok(Self {
            server,
            port,
            admin_port,
            options,
        })
    }

    pub(super) fn ready(self) -> Result<Self, Error> {
        wait_ready(&**self.server(), self.admin_addr())?;
        Ok(self)
    }

    /// The URL with the credentials of the user the options name.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        format!("{scheme}://{}127.0.0.1:{}", self.credentials(), self.port())
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
        self.options.unix_socket.then(|| {
            self.directory()
                .map(|directory| directory.join("redis.sock"))
        })?
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

    /// The process number of the server; none in a container.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server().process().map(|server| server.pid())
    }

    /// The files for TLS, when it was asked for.
    #[must_use]
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let directory = self.directory().filter(|_| self.options.tls)?;
        Some(self.options.tls_files(&directory))
    }

    /// Runs a command as the user with all rights and answers as `redis-cli` prints: lists line by line, nil empty.
    ///
    /// # Errors
    /// The server's error, or that it does not answer within 5 s.
    pub fn cli(&self, words: &[&str]) -> Result<String, Error> {
        self.admin()?.text(words)
    }

    /// Waits until all connected replicas have what this server had when it was asked.
    ///
    /// # Errors
    /// When they have not after 10 s, or the server does not answer.
    pub fn wait_for_replicas(&self) -> Result<(), Error> {
        let offset = offset(&self.cli(&["INFO", "replication"])?, "master_repl_offset:");
        until("the replicas of Redis", Duration::from_secs(10), || {
            let info = self
                .cli(&["INFO", "replication"])
                .map_err(|e| e.to_string())?;
            let behind = info.lines().any(|line| {
                line.starts_with("slave")
                    && line.contains("ip=")
                    && self::offset(line, "offset=") < offset
            });
            if behind { Err(info) } else { Ok(()) }
        })
    }

    /// SIGKILL; returns when the process is gone.
    ///
    /// # Errors
    /// When it cannot be ended within 10 s.
    pub fn kill(&self) -> Result<(), Error> {
        self.server().kill()
    }

    /// Starts it again on the same port, empty; a server that still runs is killed first. A node of a Cluster or a
    /// Sentinel keeps what it knows of the others.
    ///
    /// # Errors
    /// When it is not ready in 10 s.
    pub fn restart(&self) -> Result<(), Error> {
        let mut server = self.server();
        server.kill()?;
        server.start_again()?;
        wait_ready(&**server, self.admin_addr())
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

    /// Its directory: the log, the configuration, the data. It goes with the server; none in a container.
    #[must_use]
    pub fn directory(&self) -> Option<PathBuf> {
        self.server()
            .process()
            .map(|server| server.directory().to_path_buf())
    }

    /// The last 40 lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server().log_tail()
    }

    /// Whether it answers now; an answer is waited for half a second.
    pub(super) fn answers(&self) -> bool {
        let connected = Resp::connect(self.admin_addr(), Duration::from_millis(500));
        connected.is_ok_and(|mut connection| {
            !matches!(connection.text(&["PING"]), Err(Error::Io { .. }))
        })
    }

    /// Whether others know it by this address: with TLS it has two.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        [self.addr(), self.admin_addr()].contains(&address)
    }

    fn admin(&self) -> Result<Resp, Error> {
        let mut connection = Resp::connect(self.admin_addr(), COMMAND_LIMIT)?;
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

    fn admin_addr(&self) -> SocketAddr {
        (
            Ipv4Addr::LOCALHOST,
            self.admin_port.as_ref().unwrap_or(&self.port).number(),
        )
            .into()
    }

    fn server(&self) -> MutexGuard<'_, Box<dyn Instance>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number behind a name in `INFO`.
fn offset(info: &str, name: &str) -> u64 {
    let digits = info.split_once(name).map_or("", |(_, rest)| rest);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_from_the_info() {
        assert_eq!(
            offset(
                "slave0:ip=127.0.0.1,port=1,state=online,offset=42,lag=0",
                "offset="
            ),
            42
        );
        assert_eq!(
            offset(
                "role:master\r\nmaster_repl_offset:7\r\n",
                "master_repl_offset:"
            ),
            7
        );
        assert_eq!(offset("", "offset="), 0);
    }
}
