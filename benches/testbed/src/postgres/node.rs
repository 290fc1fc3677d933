use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::builder::{PostgresBuilder, replica_name};
use super::launch::{Material, Upstream};
use super::sql;
use crate::Error;
use crate::machine::instance::Instance;
use crate::machine::port::Port;
use crate::url::{ServerUrl, encode};
use crate::wait::until;

const READY_LIMIT: Duration = Duration::from_secs(30);
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// One PostgreSQL server of a [`crate::Postgres`]: the primary or a replica, and the faults it can be given.
///
/// ```no_run
/// let postgres = bilten_testbed::Postgres::builder().replicas(1).start()?;
/// let replica = postgres.replica(0);
/// replica.pause_replay()?;
/// postgres.primary().psql("create table t (n int)")?;
/// assert!(replica.psql("select * from t").is_err(), "not replayed yet");
/// replica.resume_replay()?;
/// postgres.wait_for_replicas()?;
/// assert_eq!(replica.psql("select count(*) from t")?, "0");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct PostgresNode {
    server: Mutex<Box<dyn Instance>>,
    port: Port,
    name: String,
    primary_port: Option<u16>,
}

impl PostgresNode {
    /// Starts the server without waiting for it. `primary_port` is where a replica's primary is asked from here.
    pub(super) fn launch(
        material: &Material,
        options: &PostgresBuilder,
        port: Port,
        upstream: Option<(&Upstream, u16)>,
    ) -> Result<Self, Error> {
        let instance = material.launch(
            options,
            port.number(),
            upstream.map(|(upstream, _)| upstream),
        )?;
        let name = upstream.map_or_else(
            || "primary".to_owned(),
            |(upstream, _)| replica_name(upstream.number),
        );
        Ok(Self {
            server: Mutex::new(instance),
            port,
            name,
            primary_port: upstream.map(|(_, port)| port),
        })
    }

    /// The host by which other nodes reach this one.
    pub(super) fn inner_host(&self) -> Result<String, Error> {
        self.server().inner_host()
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`; no password is asked.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for("postgres")
    }

    /// The URL of another database of this server.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/{}",
            self.port(),
            encode(database)
        )
    }

    /// The URL for another user. Members of the role `needs_password` must give the right password.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.server_url().with_user(user, password).text()
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

    /// The process number of the postmaster; none in a container.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server().process().map(|server| server.pid())
    }

    /// `primary` or `replica_N`: its `application_name` in `pg_stat_replication`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL in the database `postgres` as the superuser and answers as `psql -At` prints: fields with `|`.
    ///
    /// # Errors
    /// The server's error as `SQLSTATE: message`, or that it does not answer within 20 s.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        sql::run(&self.server_url(), sql)
    }

    /// [`Self::psql`] in another database.
    ///
    /// # Errors
    /// As [`Self::psql`].
    pub fn psql_in(&self, database: &str, sql: &str) -> Result<String, Error> {
        sql::run(&self.server_url().with_path(&encode(database)), sql)
    }

    /// SIGKILL for the postmaster and every backend; returns when all are gone.
    ///
    /// # Errors
    /// When they cannot be ended within 10 s.
    pub fn kill(&self) -> Result<(), Error> {
        self.server().kill()
    }

    /// Starts it again on the same port with its data; one that still runs is shut down first.
    ///
    /// # Errors
    /// When it is not ready in 30 s.
    pub fn restart(&self) -> Result<(), Error> {
        let mut server = self.server();
        if server.is_running() {
            server.stop("INT")?;
        }
        server.start_again()?;
        drop(server);
        self.wait_ready()
    }

    /// A fast shutdown: clients get 57P01, data is written.
    ///
    /// # Errors
    /// When it has not ended within 10 s.
    pub fn stop(&self) -> Result<(), Error> {
        self.server().stop("INT")
    }

    /// SIGSTOP for the postmaster and every backend: connections open and nobody answers.
    ///
    /// # Errors
    /// When they do not stop within 10 s.
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
    /// On a primary, or when replay has not paused within 5 s.
    pub fn pause_replay(&self) -> Result<(), Error> {
        self.psql("select pg_wal_replay_pause()")?;
        self.until_answer(
            "replay to pause",
            "select pg_get_wal_replay_pause_state()",
            "paused",
        )
    }

    /// Applies again what was received.
    ///
    /// # Errors
    /// On a primary.
    pub fn resume_replay(&self) -> Result<(), Error> {
        self.psql("select pg_wal_replay_resume()").map(drop)
    }

    /// Makes a replica a primary and waits until it takes writes. The old primary is left as it is.
    ///
    /// # Errors
    /// On a primary, or when it is still in recovery after 20 s.
    pub fn promote(&self) -> Result<(), Error> {
        self.psql("select pg_promote(true, 15)")?;
        self.until_answer("the promotion", "select pg_is_in_recovery()", "f")
    }

    /// SIGSTOP for the process that feeds this replica; on a primary, for all that feed replicas. A partition
    /// that neither side is told of.
    ///
    /// # Errors
    /// When no such process runs.
    pub fn stop_walsender(&self) -> Result<(), Error> {
        self.signal_walsenders("STOP")
    }

    /// SIGCONT after [`Self::stop_walsender`].
    ///
    /// # Errors
    /// When no such process runs.
    pub fn continue_walsender(&self) -> Result<(), Error> {
        self.signal_walsenders("CONT")
    }

    fn signal_walsenders(&self, signal: &str) -> Result<(), Error> {
        let (port, which) = match self.primary_port {
            Some(primary) => (primary, format!("application_name = '{}'", self.name)),
            None => (self.port(), "true".to_owned()),
        };
        let url = ServerUrl::local("postgres", "postgres", port, "postgres");
        let pids = sql::run(
            &url,
            &format!("select pid from pg_stat_replication where {which}"),
        )?;
        let pids: Vec<u32> = pids.lines().filter_map(|pid| pid.parse().ok()).collect();
        if pids.is_empty() {
            return Err(Error::refused(
                &format!("send SIG{signal} to the walsender of {}", self.name),
                "none runs",
            ));
        }
        // By the server itself, so that it works in a container too; the program must read what it is given.
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let program = format!("cat >/dev/null; kill -s {signal} {}", pids.join(" "));
        sql::run(&url, &format!("copy (select 1) to program '{program}'")).map(drop)
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

    pub(super) fn wait_ready(&self) -> Result<(), Error> {
        let server = format!("PostgreSQL ({}) on {}", self.name, self.addr());
        let url = self.server_url();
        let outcome = until("an answer to SELECT", READY_LIMIT, || {
            if !self.server().is_running() {
                return Ok(Err("it ended".to_owned()));
            }
            sql::run_within(&url, "select 1", PROBE_LIMIT)
                .map(|_| Ok(()))
                .map_err(|e| e.to_string())
        });
        let reason = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(late) => late.to_string(),
        };
        Err(Error::NotReady {
            server,
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
        let waiting_for = format!("{waiting_for} on {}", self.name);
        until(&waiting_for, READY_LIMIT, || match self.psql(question) {
            Ok(answer) if answer == wanted => Ok(()),
            Ok(answer) => Err(answer),
            Err(error) => Err(error.to_string()),
        })
    }

    pub(super) fn server_url(&self) -> ServerUrl {
        ServerUrl::local("postgres", "postgres", self.port(), "postgres")
    }

    fn server(&self) -> MutexGuard<'_, Box<dyn Instance>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
