//! The description of a cluster, and the first contact with its nodes.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::address::check_id;
use crate::balance::{Balance, Mask};
use crate::blueprint::Blueprint;
use crate::budget::Budget;
use crate::contact::meet;
use crate::crew::Crew;
use crate::discovery::Discovery;
use crate::metrics::describe;
use crate::node::Node;
use crate::policy::{Hedge, Policy};
use crate::pool_config::LONGEST;
use crate::replica::{Replica, Source};
use crate::retry::{HedgeConfig, RetryConfig};
use crate::roster::{Roster, Topology};
use crate::router::Router;
use crate::routing::Mode;
use crate::scout::{Scout, scouting};
use crate::tags::Tags;
use crate::{Cluster, Error, Fallback, PoolConfig, ReadRouting};

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
    replicas: Vec<(String, Replica)>,
    readers: Option<u32>,
    blueprint: Blueprint,
    denied: Vec<Box<str>>,
    fallback: Option<Fallback>,
    mode: ReadRouting,
    retry: RetryConfig,
    hedge: Option<HedgeConfig>,
    deadline: Option<Duration>,
    tags: Tags,
    primary_may_be_away: bool,
    max_lag: Option<Duration>,
    min_in_rotation: Option<u32>,
    independent: bool,
    discovery: Option<Discovery>,
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

    /// A node that serves reads, under a name that appears in metrics, logs and the status: its URL, or a [`Replica`]
    /// with a weight, a zone or a group. At most 32.
    ///
    /// Its sessions are read-only, so that a write which was taken for a read cannot happen there.
    pub fn replica(mut self, id: impl Into<String>, replica: impl Into<Replica>) -> Self {
        self.replicas.push((id.into(), replica.into()));
        self
    }

    /// Replicas that come and go: asked for when the cluster is built, and again and again while it runs. None by default.
    ///
    /// See [`discovery`](crate::discovery) for what is asked, and what an answer changes. An answer that is not there in
    /// time does not stop the start.
    pub fn discovery(mut self, discovery: impl Into<Discovery>) -> Self {
        self.discovery = Some(discovery.into());
        self
    }

    /// How reads are shared among the replicas. Defaults to [`Balance::RoundRobin`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.blueprint.balance = balance;
        self
    }

    /// Where this process runs: replicas of the same [`zone`](Replica::zone) are asked first. Without it zones do not
    /// matter.
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.blueprint.zone = Some(zone.into());
        self
    }

    /// Which reads may leave the primary. Defaults to [`ReadRouting::Auto`].
    pub fn route_reads(mut self, mode: ReadRouting) -> Self {
        self.mode = mode;
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
            .extend(replicas.map(|(id, conn)| (id, Replica::from(conn))));
        self
    }

    /// The pool of each node. Defaults to [`PoolConfig::default`].
    pub fn pool(mut self, pool: PoolConfig) -> Self {
        self.blueprint.pool = pool;
        self
    }

    /// The pool of each replica, where it differs from [`pool`](Self::pool). It goes with the node: one that is promoted
    /// takes the writes with it.
    pub fn replica_pool(mut self, pool: PoolConfig) -> Self {
        self.blueprint.replica_pool = Some(pool);
        self
    }

    /// Functions whose callers belong on the primary, beside those known to write.
    ///
    /// A function that writes is found out by the replica's refusal; name those that a replica would answer, but wrongly.
    /// Of a name with a schema the last part counts, whatever the schema.
    pub fn deny_functions<I: Into<String>>(mut self, names: impl IntoIterator<Item = I>) -> Self {
        let names = names
            .into_iter()
            .map(|name| Box::<str>::from(last_part(&name.into().to_lowercase())));
        self.denied.extend(names);
        self
    }

    /// What happens to reads when no replica is in rotation. Defaults to a capped [`Fallback::Primary`].
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// How many reads may be sent a second time after a fault. Defaults to a tenth of them.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Sends a read that takes long to a second replica as well. Off by default.
    pub fn hedge(mut self, hedge: HedgeConfig) -> Self {
        self.hedge = Some(hedge);
        self.blueprint.hedges = true;
        self
    }

    /// Longest time for a call, all its tries and waits together. Not limited by default beyond the limits of the pool;
    /// see also [`with_deadline`](crate::scope::with_deadline).
    ///
    /// A call that takes longer fails with [`Error::Deadline`], which says whether a write may have happened. Of streams and
    /// transactions only the beginning is bounded.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.deadline = Some(limit.min(LONGEST));
        self
    }

    /// Adds a comment to each statement, such as `/*service='shop'*/`, which shows in the logs and statistics of the
    /// database who sent it (sqlcommenter). None by default; see also [`with_tags`](crate::scope::with_tags).
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.set(key, value);
        self
    }

    /// Whether the primary must be there when the cluster is built. Defaults to `true`.
    ///
    /// Without it reads go to the replicas, writes fail, and the primary joins by itself when it is back.
    pub fn require_primary(mut self, required: bool) -> Self {
        self.primary_may_be_away = !required;
        self
    }

    /// Takes a replica out of rotation while it is more than this behind. Not limited by default.
    ///
    /// Lag is measured once a second; not knowing it counts as too much. A replica comes back after three good
    /// measurements in a row. Needs PostgreSQL, or MySQL or MariaDB with GTIDs.
    pub fn max_lag(mut self, limit: Duration) -> Self {
        self.max_lag = Some(limit);
        self
    }

    /// Replicas that stay in rotation when their probes are slow or answered with an error; of each
    /// [`group`](Replica::group) alone. Defaults to half of them, rounded up; 0 keeps none, and a number above theirs keeps
    /// all.
    ///
    /// Probes of all replicas may fail at once for a reason of their own: a right taken away, servers that are slow to
    /// let anybody in. To leave them all would send every read to the primary. The status says of a replica that it was
    /// kept, and why.
    ///
    /// Not kept, whatever the number: who refuses connections, cannot be resolved, refuses the password, answers
    /// nothing, never told who it is, belongs elsewhere, or takes writes. Lag is not a failure: see
    /// [`max_lag`](Self::max_lag) and [`Fallback::StaleReplica`].
    pub fn min_in_rotation(mut self, replicas: u32) -> Self {
        self.min_in_rotation = Some(replicas);
        self
    }

    /// Replicas need not be standbys of the primary: logical replication, a proxy in front, a service with a storage of
    /// its own.
    ///
    /// Without this, a replica that takes writes, belongs to another PostgreSQL cluster or opens another database than the
    /// primary (PostgreSQL: database, MySQL and MariaDB: schema) is ejected, and a promoted standby becomes the primary. With MySQL and MariaDB `read_only` tells who takes writes.
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
    /// within `connect_timeout` and is [required](Self::require_primary).
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
            max_in_flight: self.blueprint.pool.max.saturating_mul(2),
        });
        let roster = Roster::new(
            Topology { primary, replicas },
            !self.independent,
            self.max_lag,
            self.min_in_rotation,
        );
        let reserve = self
            .retry
            .reserve
            .unwrap_or_else(|| roster.topology().replica_connections().clamp(100, 100_000));
        let policy = Policy {
            denied: self.denied,
            fallback,
            balance: self.blueprint.balance,
            mode: Mode::new(self.mode),
            retries: Budget::new(self.retry.percent, reserve),
            hedge: self.hedge.map(Hedge::from),
            deadline: self.deadline,
            tags: self.tags,
        };
        let router = Arc::new(Router::new(roster, policy));
        let watches = meet(&router, !self.primary_may_be_away).await?;
        let crew = Crew::new(&router, self.blueprint, watches);
        let cluster = Cluster::new(router, crew);
        if let Some(discovery) = self.discovery {
            let mut scout = Scout::new(discovery);
            scout.look(&cluster).await;
            let router = Arc::downgrade(cluster.shared_router());
            let crew = Arc::downgrade(cluster.crew());
            cluster.crew().watches.run(scouting(scout, router, crew));
        }
        Ok(cluster)
    }

    fn check(&self) -> Result<(), Error> {
        self.blueprint.check()?;
        self.retry.check()?;
        self.tags.check()?;
        self.hedge.map_or(Ok(()), HedgeConfig::check)?;
        self.discovery.as_ref().map_or(Ok(()), Discovery::check)?;
        self.fallback.map_or(Ok(()), Fallback::check)?;
        if self.deadline.is_some_and(|limit| limit.is_zero()) {
            return Err(Error::invalid(
                "deadline",
                "is zero, so every call would end before it began",
                "set a positive duration, or leave it out",
            ));
        }
        if self.replicas.len() > Mask::MOST {
            return Err(Error::invalid(
                "replicas",
                format!("are {}", self.replicas.len()),
                format!("name at most {}", Mask::MOST),
            ));
        }
        let mut ids = HashSet::from(["primary"]);
        for (id, _) in &self.replicas {
            check_id(id)?;
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
            Some(source) => self.blueprint.primary(source),
            None => Err(Error::invalid(
                "primary",
                "is missing",
                "call primary(url) or sqlite(path)",
            )),
        }
    }

    fn open_replicas(&self) -> Result<Vec<Arc<Node>>, Error> {
        let named = self
            .replicas
            .iter()
            .map(|(id, replica)| self.blueprint.replica(id, replica));
        let mut replicas = named.collect::<Result<Vec<_>, _>>()?;
        if let Some(Source::File(path)) = &self.primary {
            let in_memory = path == ":memory:";
            let readers = self.readers.unwrap_or(if in_memory { 0 } else { 4 });
            if readers > 0 {
                replicas.push(self.blueprint.readers(path, readers)?);
            }
        }
        Ok(replicas)
    }
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URLs hold passwords.
        f.debug_struct("ClusterBuilder")
            .field(
                "replicas",
                &self.replicas.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            )
            .field("blueprint", &self.blueprint)
            .finish_non_exhaustive()
    }
}

/// Of `app."record_visit"` what a statement is compared by.
fn last_part(name: &str) -> &str {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.trim_matches(|c| matches!(c, '"' | '`' | ' '))
}
