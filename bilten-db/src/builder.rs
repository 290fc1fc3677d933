//! The description of a cluster, and the first contact with its nodes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::contact::meet;
use crate::driver::Backend;
use crate::driver::adopted::Adopted;
use crate::driver::open::open;
use crate::driver::target::Target;
use crate::metrics::{NodeMetrics, describe};
use crate::node::Node;
use crate::roster::{Roster, Topology};
use crate::router::Router;
use crate::{Cluster, Error, Fallback, PoolConfig};

/// Describes a cluster: one primary, any number of replicas, and how to use them.
///
/// ```no_run
/// use bilten_db::{Cluster, PoolConfig};
///
/// # async fn connect() -> Result<(), bilten_db::Error> {
/// let db = Cluster::builder()
///     .primary("postgres://app@db-1/shop")
///     .replica("r1", "postgres://app@db-2/shop")
///     .replica("r2", "postgres://app@db-3/shop")
///     .pool(PoolConfig::default().max(20).min(5))
///     .connect()
///     .await?;
/// # drop(db); Ok(()) }
/// ```
#[derive(Default)]
#[must_use]
pub struct ClusterBuilder {
    primary: Option<Source>,
    replicas: Vec<(String, Source)>,
    readers: Option<u32>,
    pool: PoolConfig,
    replica_pool: Option<PoolConfig>,
    denied: Vec<Box<str>>,
    fallback: Option<Fallback>,
    max_lag: Option<Duration>,
    independent: bool,
}

enum Source {
    Url(String),
    File(String),
    Connection(DatabaseConnection),
}

impl Cluster {
    /// Begins the description of a cluster.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }
}

impl ClusterBuilder {
    /// The node that takes the writes. Required.
    ///
    /// `postgres://user:password@host:5432/database`, `mysql://..` or `sqlite://path`; special characters of the
    /// password must be percent-encoded.
    pub fn primary(mut self, url: impl Into<String>) -> Self {
        self.primary = Some(Source::Url(url.into()));
        self
    }

    /// A node that serves reads, under a name that appears in metrics, logs and the status.
    ///
    /// Its sessions are read-only, so that a write which was taken for a read cannot happen there.
    pub fn replica(mut self, id: impl Into<String>, url: impl Into<String>) -> Self {
        self.replicas.push((id.into(), Source::Url(url.into())));
        self
    }

    /// A SQLite file: one connection that writes, and [`readers`](Self::readers) that read through its write-ahead log.
    pub fn sqlite(mut self, path: impl AsRef<Path>) -> Self {
        self.primary = Some(Source::File(path.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// Connections that read from the file of [`sqlite`](Self::sqlite). Defaults to 4; 0 reads with the writer.
    pub fn readers(mut self, connections: u32) -> Self {
        self.readers = Some(connections);
        self
    }

    /// Uses connections that exist already, with their own pool settings, hooks and mocks.
    ///
    /// Budgets, read-only sessions and pools that are replaced after a failure need a URL; these have none of them.
    ///
    /// ```
    /// use bilten_db::Cluster;
    /// use bilten_db::sea_orm::Database;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let primary = Database::connect("sqlite::memory:").await?;
    /// let db = Cluster::builder().from_connections(primary, []).connect().await?;
    /// assert!(db.status().primary().is_up());
    /// # Ok(()) }
    /// ```
    pub fn from_connections(
        mut self,
        primary: DatabaseConnection,
        replicas: impl IntoIterator<Item = (String, DatabaseConnection)>,
    ) -> Self {
        self.primary = Some(Source::Connection(primary));
        let replicas = replicas.into_iter();
        self.replicas
            .extend(replicas.map(|(id, conn)| (id, Source::Connection(conn))));
        self
    }

    /// The pool of each node. Defaults to [`PoolConfig::default`].
    pub fn pool(mut self, pool: PoolConfig) -> Self {
        self.pool = pool;
        self
    }

    /// The pool of each replica, where it differs from [`pool`](Self::pool).
    pub fn replica_pool(mut self, pool: PoolConfig) -> Self {
        self.replica_pool = Some(pool);
        self
    }

    /// Functions whose callers belong on the primary, beside those known to write.
    ///
    /// A function that writes is found out by the replica's refusal; name those that a replica would answer, but wrongly.
    pub fn deny_functions<I: Into<String>>(mut self, names: impl IntoIterator<Item = I>) -> Self {
        let names = names
            .into_iter()
            .map(|name| name.into().to_lowercase().into_boxed_str());
        self.denied.extend(names);
        self
    }

    /// What happens to reads when no replica is in rotation. Defaults to a capped [`Fallback::Primary`].
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// Takes a replica out of rotation while it is more than this behind. Not limited by default.
    ///
    /// Lag is measured once a second; not knowing it counts as too much. A replica comes back after three good
    /// measurements in a row. Needs PostgreSQL.
    pub fn max_lag(mut self, limit: Duration) -> Self {
        self.max_lag = Some(limit);
        self
    }

    /// Replicas need not be standbys of the primary: logical replication, a proxy in front, a service with a storage of
    /// its own.
    ///
    /// Without this, a replica that takes writes or belongs to another PostgreSQL cluster is ejected, and a promoted
    /// standby becomes the primary.
    pub fn independent_replicas(mut self) -> Self {
        self.independent = true;
        self
    }

    /// Connects to the primary, and to the replicas as far as they are there.
    ///
    /// A replica that cannot be reached is ejected, logged, shown in [`Cluster::status`], and comes back by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for settings without meaning, [`Error::Unreachable`] when the primary cannot be reached
    /// within `connect_timeout`.
    ///
    /// # Cancellation
    ///
    /// Nothing stays open when dropped.
    pub async fn connect(self) -> Result<Cluster, Error> {
        self.check()?;
        describe();
        let primary = self.open_primary()?;
        let replicas = self.open_replicas()?;
        if let Some(other) = replicas
            .iter()
            .find(|r| r.backend.kind() != primary.backend.kind())
        {
            return Err(Error::invalid(
                format!("replica `{}`", other.id),
                "is another kind of database than the primary",
                "give it the URL of a replica of the primary",
            ));
        }
        let fallback = self.fallback.unwrap_or(Fallback::Primary {
            max_in_flight: self.pool.max.saturating_mul(2),
        });
        let roster = Roster::new(
            Topology { primary, replicas },
            !self.independent,
            self.max_lag,
        );
        let router = Arc::new(Router::new(roster, self.denied, fallback));
        let watches = meet(&router).await?;
        Ok(Cluster::new(router, watches))
    }

    fn check(&self) -> Result<(), Error> {
        self.pool.check("pool")?;
        if let Some(pool) = &self.replica_pool {
            pool.check("replica_pool")?;
        }
        let mut ids = HashSet::from(["primary"]);
        for (id, _) in &self.replicas {
            if id.is_empty() {
                return Err(Error::invalid(
                    "replica id",
                    "is empty",
                    "give each replica a name, such as `r1`",
                ));
            }
            if !ids.insert(id) {
                return Err(Error::invalid(
                    format!("replica id `{id}`"),
                    "is taken",
                    "give each replica a name of its own; `primary` is the primary's",
                ));
            }
        }
        if self.readers.is_some() && !matches!(self.primary, Some(Source::File(_))) {
            return Err(Error::invalid(
                "readers",
                "are for a SQLite file",
                "call sqlite(path), or name each replica with replica(id, url)",
            ));
        }
        Ok(())
    }

    fn open_primary(&self) -> Result<Arc<Node>, Error> {
        match &self.primary {
            Some(source) => node("primary", "primary", source, &self.pool, false),
            None => Err(Error::invalid(
                "primary",
                "is missing",
                "call primary(url) or sqlite(path)",
            )),
        }
    }

    fn open_replicas(&self) -> Result<Vec<Arc<Node>>, Error> {
        let pool = self.replica_pool.as_ref().unwrap_or(&self.pool);
        let named = self
            .replicas
            .iter()
            .map(|(id, source)| node(id, &format!("replica `{id}`"), source, pool, true));
        let mut replicas = named.collect::<Result<Vec<_>, _>>()?;
        if let Some(Source::File(path)) = &self.primary {
            let in_memory = path == ":memory:";
            let readers = self.readers.unwrap_or(if in_memory { 0 } else { 4 });
            if readers > 0 {
                let pool = pool.clone().max(readers).min(pool.min.min(readers));
                pool.check("readers")?;
                replicas.push(node(
                    "readers",
                    "readers",
                    &Source::File(path.clone()),
                    &pool,
                    true,
                )?);
            }
        }
        Ok(replicas)
    }
}

fn node(
    id: &str,
    field: &str,
    source: &Source,
    pool: &PoolConfig,
    read_only: bool,
) -> Result<Arc<Node>, Error> {
    let id: Arc<str> = Arc::from(id);
    let metrics = NodeMetrics::new(&id);
    let suspicion = Arc::new(tokio::sync::Notify::new());
    let open_url = |url: &str| {
        open(Target {
            field,
            url,
            pool: pool.clone(),
            read_only,
            suspicion: Arc::clone(&suspicion),
            acquire_seconds: metrics.acquire_seconds(),
        })
    };
    let backend: Arc<dyn Backend> = match source {
        Source::Url(url) => open_url(url)?,
        Source::File(path) if path == ":memory:" => open_url("sqlite::memory:")?,
        Source::File(path) => open_url(&format!("sqlite://{}", escape(path)))?,
        Source::Connection(conn) => Arc::new(Adopted::new(conn.clone())),
    };
    Ok(Arc::new(Node::new(id, backend, metrics, suspicion)))
}

/// A path may hold characters that mean something in a URL.
fn escape(path: &str) -> String {
    path.replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23")
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URLs hold passwords.
        f.debug_struct("ClusterBuilder")
            .field(
                "replicas",
                &self.replicas.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            )
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
