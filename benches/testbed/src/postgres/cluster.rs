use std::thread;
use std::time::Duration;

use super::builder::PostgresBuilder;
use super::launch::{Material, Upstream};
use super::node::PostgresNode;
use super::sql;
use crate::Error;
use crate::machine::port::Port;
use crate::url::ServerUrl;
use crate::wait::until;

const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

/// A private PostgreSQL primary with streaming replicas, each a process of its own on loopback; all end, with
/// their directories, when this is dropped or the process ends.
///
/// ```no_run
/// let postgres = bilten_testbed::Postgres::builder().replicas(2).start()?;
/// let database = postgres.create_database("orders")?;
/// postgres.primary().psql_in(&database, "create table t as select 1 as n")?;
/// postgres.wait_for_replicas()?;
/// assert_eq!(postgres.replica(0).psql_in(&database, "select n from t")?, "1");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct Postgres {
    primary: PostgresNode,
    replicas: Vec<PostgresNode>,
}

impl Postgres {
    /// Starts a primary without replicas.
    ///
    /// # Errors
    /// When PostgreSQL is missing or not ready in 30 s; the message holds the remedy or the log's end.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Options for a cluster.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    pub(super) fn start_with(options: &PostgresBuilder) -> Result<Self, Error> {
        let material = if options.stranger {
            Material::stranger()?
        } else {
            Material::find()?
        };
        let mut tries = 0;
        loop {
            match Self::attempt(&material, options) {
                Err(error) if error.is_port_taken() && tries < 5 => tries += 1,
                outcome => return outcome,
            }
        }
    }

    fn attempt(material: &Material, options: &PostgresBuilder) -> Result<Self, Error> {
        let port = Port::reserve()?;
        let number = port.number();
        let follow = |host: String, i| {
            let upstream = Upstream {
                host,
                port: material.inner_port(number),
                number: i,
            };
            PostgresNode::launch(
                material,
                options,
                Port::reserve()?,
                Some((&upstream, number)),
            )
        };
        let lead = || PostgresNode::launch(material, options, port, None);
        let (primary, replicas) = if matches!(material, Material::Local { .. }) {
            at_once(options.replicas, lead, |i| {
                follow("127.0.0.1".to_owned(), i)
            })?
        } else {
            // A container has its address only once it runs.
            let primary = lead()?;
            primary.wait_ready()?;
            let host = primary.inner_host()?;
            let replicas = (0..options.replicas)
                .map(|i| follow(host.clone(), i))
                .collect::<Result<_, _>>()?;
            (primary, replicas)
        };
        let postgres = Self { primary, replicas };
        postgres.primary.wait_ready()?;
        postgres
            .replicas
            .iter()
            .try_for_each(PostgresNode::wait_ready)?;
        postgres.wait_streaming()?;
        Ok(postgres)
    }

    /// The node that was started as the primary.
    #[must_use]
    pub fn primary(&self) -> &PostgresNode {
        &self.primary
    }

    /// The node that was started as replica `i`, from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn replica(&self, i: usize) -> &PostgresNode {
        &self.replicas[i]
    }

    /// All nodes that were started as replicas.
    #[must_use]
    pub fn replicas(&self) -> &[PostgresNode] {
        &self.replicas
    }

    /// Creates a database with a unique name that begins with the prefix; returns when every replica has it.
    ///
    /// # Errors
    /// The primary's error, or that a replica has not got it after 20 s.
    pub fn create_database(&self, prefix: &str) -> Result<String, Error> {
        let replicas: Vec<ServerUrl> = self.replicas.iter().map(PostgresNode::server_url).collect();
        sql::create_database(&self.primary.server_url(), &replicas, prefix)
    }

    /// Waits until every replica has applied all that was committed on the primary when this was called.
    ///
    /// # Errors
    /// When one has not after 30 s, for example because its replay is paused.
    pub fn wait_for_replicas(&self) -> Result<(), Error> {
        let position = self.primary.psql("select pg_current_wal_flush_lsn()")?;
        let question = format!("select coalesce(pg_last_wal_replay_lsn() >= '{position}', false)");
        self.replicas
            .iter()
            .try_for_each(|replica| replica.until_answer("the primary's position", &question, "t"))
    }

    /// Waits until every replica streams from the primary, for example after a restart.
    ///
    /// # Errors
    /// When one does not after 30 s.
    pub fn wait_streaming(&self) -> Result<(), Error> {
        if self.replicas.is_empty() {
            return Ok(());
        }
        let question = "select application_name from pg_stat_replication where state = 'streaming'";
        until("all replicas to stream", CATCH_UP_LIMIT, || {
            let streaming = self.primary.psql(question).map_err(|e| e.to_string())?;
            let missing = self
                .replicas
                .iter()
                .find(|replica| !streaming.lines().any(|name| name == replica.name()));
            missing.map_or(Ok(()), |replica| {
                Err(format!(
                    "{} does not; its log:\n{}",
                    replica.name(),
                    replica.log_tail()
                ))
            })
        })
    }
}

/// Copying dominates, so all nodes are made at once; a replica retries until its primary is there.
fn at_once(
    replicas: usize,
    lead: impl FnOnce() -> Result<PostgresNode, Error>,
    follow: impl Fn(usize) -> Result<PostgresNode, Error> + Sync,
) -> Result<(PostgresNode, Vec<PostgresNode>), Error> {
    let follow = &follow;
    thread::scope(|scope| {
        let started: Vec<_> = (0..replicas)
            .map(|i| scope.spawn(move || follow(i)))
            .collect();
        let primary = lead();
        let replicas: Result<Vec<_>, Error> = started
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        Ok((primary?, replicas?))
    })
}
