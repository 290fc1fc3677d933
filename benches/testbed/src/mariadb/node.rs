use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::builder::MariaDbBuilder;
use super::client;
use super::launch::Material;
use crate::Error;
use crate::machine::instance::Instance;
use crate::machine::port::Port;
use crate::machine::server::Server;
use crate::url::ServerUrl;
use crate::wait::until;

const READY_LIMIT: Duration = Duration::from_secs(30);
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for one answer of a server we steer.
const LIMIT: Duration = Duration::from_secs(20);

/// One server of a [`crate::MariaDb`]: the primary or a replica, and the faults it can be given.
///
/// ```no_run
/// let maria = bilten_testbed::MariaDb::builder().replicas(1).start()?;
/// let replica = maria.replica(0);
/// replica.pause_replay()?;
/// maria.primary().sql("create database shop")?;
/// assert!(replica.sql_in("shop", "select 1").is_err(), "not replayed yet");
/// replica.resume_replay()?;
/// maria.wait_for_replicas()?;
/// assert_eq!(replica.sql_in("shop", "select 1")?, "1");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct MariaDbNode {
    server: Mutex<Server>,
    port: Port,
    server_id: usize,
}

impl MariaDbNode {
    /// Starts the server without waiting for it.
    pub(super) fn launch(
        material: &Material,
        options: &MariaDbBuilder,
        port: Port,
        server_id: usize,
    ) -> Result<Self, Error> {
        let server = Mutex::new(material.launch(options, port.number(), server_id)?);
        Ok(Self {
            server,
            port,
            server_id,
        })
    }

    /// `mysql://app@127.0.0.1:PORT/DATABASE`; no password is asked. The user may do what a service does, and cannot
    /// write where `read_only` is set.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        ServerUrl::local("mysql", "app", self.port(), database).text()
    }

    /// The URL for another user. `needs_password` has the password `right`.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        ServerUrl::local("mysql", "app", self.port(), database)
            .with_user(user, password)
            .text()
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

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server().pid()
    }

    /// Runs SQL as `root` without a database: fields come with tabs between them, rows with line ends.
    ///
    /// # Errors
    /// The server's error, or that it does not answer within 20 s.
    pub fn sql(&self, sql: &str) -> Result<String, Error> {
        client::run(self.port(), None, sql, LIMIT)
    }

    /// [`Self::sql`] in a database.
    ///
    /// # Errors
    /// As [`Self::sql`].
    pub fn sql_in(&self, database: &str, sql: &str) -> Result<String, Error> {
        client::run(self.port(), Some(database), sql, LIMIT)
    }

    /// SIGKILL; returns when it is gone.
    ///
    /// # Errors
    /// When it cannot be ended within 10 s.
    pub fn kill(&self) -> Result<(), Error> {
        self.server().kill()
    }

    /// Starts it again on the same port with its data and the options it had at first; one that still runs is shut
    /// down. A replica follows again by itself.
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub fn restart(&self) -> Result<(), Error> {
        let mut server = self.server();
        if server.is_running() {
            server.stop("TERM")?;
        }
        server.start_again()?;
        drop(server);
        self.wait_ready()
    }

    /// A shutdown in order.
    ///
    /// # Errors
    /// When it has not ended within 10 s.
    pub fn stop(&self) -> Result<(), Error> {
        self.server().stop("TERM")
    }

    /// SIGSTOP: connections open and nobody answers.
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

    /// Stops a replica from applying what it receives: exact lag until [`Self::resume_replay`].
    ///
    /// # Errors
    /// When it does not answer.
    pub fn pause_replay(&self) -> Result<(), Error> {
        self.sql("stop slave sql_thread").map(drop)
    }

    /// Applies again what was received.
    ///
    /// # Errors
    /// When it follows nobody.
    pub fn resume_replay(&self) -> Result<(), Error> {
        self.sql("start slave sql_thread").map(drop)
    }

    /// Stops a replica from receiving anything: what it has, it applied.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn cut_off(&self) -> Result<(), Error> {
        self.sql("stop slave io_thread").map(drop)
    }

    /// Makes a replica a primary that takes writes. The old primary is left as it is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn promote(&self) -> Result<(), Error> {
        self.sql("stop slave; reset slave all; set global read_only = 0")
            .map(drop)
    }

    /// Makes it a replica of another node; returns when it receives and applies.
    ///
    /// # Errors
    /// When it does not within 30 s, for example because it has transactions that the other has not.
    pub fn follow(&self, primary: &Self) -> Result<(), Error> {
        let port = primary.port();
        self.sql(&format!(
            "set global read_only = 1; stop slave; set global gtid_slave_pos = @@global.gtid_current_pos; \
             change master to master_host = '127.0.0.1', master_port = {port}, master_user = 'root', \
             master_use_gtid = slave_pos, master_connect_retry = 1; start slave"
        ))?;
        self.until_answer(
            "replication",
            "select variable_value from information_schema.global_status where variable_name = 'SLAVE_RUNNING'",
            "ON",
        )
    }

    /// Its directory: the log and the data. It goes with the server.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.server().directory().to_path_buf()
    }

    /// The last 40 lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server().log_tail()
    }

    pub(super) fn wait_ready(&self) -> Result<(), Error> {
        let outcome = until("an answer to SELECT", READY_LIMIT, || {
            if !self.server().is_running() {
                return Ok(Err("it ended".to_owned()));
            }
            client::run(self.port(), None, "select 1", PROBE_LIMIT)
                .map(|_| Ok(()))
                .map_err(|e| e.to_string())
        });
        let reason = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(late) => late.to_string(),
        };
        Err(Error::NotReady {
            server: format!("MariaDB (server {}) on {}", self.server_id, self.addr()),
            reason,
            log: self.log_tail(),
        })
    }

    pub(super) fn until_answer(
        &self,
        waiting_for: &str,
        question: &str,
        wanted: &str,
    ) -> Result<(), Error> {
        let waiting_for = format!("{waiting_for} on server {}", self.server_id);
        until(&waiting_for, READY_LIMIT, || match self.sql(question) {
            Ok(answer) if answer == wanted => Ok(()),
            Ok(answer) => Err(answer),
            Err(error) => Err(error.to_string()),
        })
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
