//! Servers that many tests use together: from the environment, else started once per process.
//!
//! `cargo xtask test` starts them once for a whole run and hands the URLs to every test process. Keep out of each
//! other's way with a key prefix in Redis and a database in PostgreSQL; never flush or stop them.

use std::sync::OnceLock;

use crate::environment::{PG_REPLICA_URLS, PG_URL, REDIS_URL, variable};
use crate::postgres::sql;
use crate::redis::Redis;
use crate::sources::url_from;
use crate::url::{ServerUrl, encode};
use crate::{Error, Postgres};

/// The replicas of a shared PostgreSQL that this process starts itself.
const OWN_REPLICAS: usize = 2;

/// The URL of the shared Redis.
///
/// ```no_run
/// let url = bilten_testbed::shared::redis()?;
/// assert!(url.starts_with("redis"));
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
///
/// # Errors
/// When `BILTEN_TEST_REDIS_URL` is no URL, or none is set and Redis cannot be started.
pub fn redis() -> Result<String, Error> {
    static OWN: Own<Redis> = Own::new();
    if let Some(url) = url_from(REDIS_URL)? {
        return Ok(url.text());
    }
    OWN.get(Redis::start).map(Redis::url)
}

/// The shared PostgreSQL, with two replicas when this process starts it itself.
///
/// ```no_run
/// let postgres = bilten_testbed::shared::postgres()?;
/// let database = postgres.database("orders")?;
/// assert!(database.primary_url().contains("orders"));
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
///
/// # Errors
/// When a URL in the environment is none, or none is set and PostgreSQL cannot be started.
pub fn postgres() -> Result<SharedPostgres, Error> {
    static OWN: Own<Postgres> = Own::new();
    if let Some(primary) = url_from(PG_URL)? {
        let urls = variable(PG_REPLICA_URLS).unwrap_or_default();
        let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        let replicas = urls
            .map(|url| ServerUrl::parse(PG_REPLICA_URLS, url))
            .collect::<Result<_, _>>()?;
        return Ok(SharedPostgres { primary, replicas });
    }
    let own = OWN.get(|| Postgres::builder().replicas(OWN_REPLICAS).start())?;
    let parse = |url: String| ServerUrl::parse(PG_URL, &url);
    let replicas = own
        .replicas()
        .iter()
        .map(|node| parse(node.url()))
        .collect::<Result<_, _>>()?;
    Ok(SharedPostgres {
        primary: parse(own.primary().url())?,
        replicas,
    })
}

/// A PostgreSQL primary and its replicas, by URL. See [`postgres`] for an example.
#[derive(Clone)]
pub struct SharedPostgres {
    primary: ServerUrl,
    replicas: Vec<ServerUrl>,
}

impl SharedPostgres {
    /// The URL of the primary with its default database.
    #[must_use]
    pub fn primary_url(&self) -> String {
        self.primary.text()
    }

    /// The URLs of the replicas with their default database; none when the environment names none.
    #[must_use]
    pub fn replica_urls(&self) -> Vec<String> {
        self.replicas.iter().map(ServerUrl::text).collect()
    }

    /// Creates an empty database with a unique name that begins with the prefix; every replica has it on return.
    ///
    /// It is not dropped: a test may still be connected, and the server ends with the run.
    ///
    /// # Errors
    /// The primary's error, or that a replica has not got it after 20 s.
    pub fn database(&self, prefix: &str) -> Result<SharedDatabase, Error> {
        let name = sql::create_database(&self.primary, &self.replicas, prefix)?;
        Ok(SharedDatabase {
            server: self.clone(),
            name,
        })
    }
}

impl std::fmt::Debug for SharedPostgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let replicas: Vec<String> = self.replicas.iter().map(|url| url.place(5432)).collect();
        f.debug_struct("SharedPostgres")
            .field("primary", &self.primary.place(5432))
            .field("replicas", &replicas)
            .finish()
    }
}

/// A database of a test's own on a [`SharedPostgres`]. See [`postgres`] for an example.
#[derive(Debug, Clone)]
pub struct SharedDatabase {
    server: SharedPostgres,
    name: String,
}

impl SharedDatabase {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of this database on the primary.
    #[must_use]
    pub fn primary_url(&self) -> String {
        self.server.primary.with_path(&encode(&self.name)).text()
    }

    /// The URLs of this database on the replicas.
    #[must_use]
    pub fn replica_urls(&self) -> Vec<String> {
        self.server
            .replicas
            .iter()
            .map(|url| url.with_path(&encode(&self.name)).text())
            .collect()
    }

    /// Runs SQL in it on the primary and answers as `psql -At` prints.
    ///
    /// # Errors
    /// The server's error, or that it does not answer within 20 s.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        sql::run(&self.server.primary.with_path(&encode(&self.name)), sql)
    }
}

/// A server started by the first who asks and kept until the process ends; its guardian ends it then.
struct Own<T>(OnceLock<Result<T, String>>);

impl<T> Own<T> {
    const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn get(&self, start: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
        let started = self
            .0
            .get_or_init(|| start().map_err(|error| error.to_string()));
        started.as_ref().map_err(|problem| Error::NotReady {
            server: "the shared server".to_owned(),
            reason: problem.clone(),
            log: String::new(),
        })
    }
}
