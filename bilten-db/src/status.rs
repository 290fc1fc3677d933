//! What a cluster looks like from inside, for health checks and dashboards.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// The nodes of a cluster at one moment, the primary first.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// let db = bilten_db::Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let status = db.status();
/// assert_eq!(status.primary().id, "primary");
/// assert!(status.primary().is_up());
/// assert_eq!(status.replicas().count(), 0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// Every node.
    pub nodes: Vec<NodeStatus>,
    /// Statements that looked like reads and are known to write.
    pub learned_writes: usize,
    /// How the search for replicas goes; `None` without a [`discovery`](crate::ClusterBuilder::discovery).
    pub discovery: Option<DiscoveryStatus>,
}

impl ClusterStatus {
    /// The node that takes the writes.
    ///
    /// # Panics
    ///
    /// Never for a status made by [`Cluster::status`](crate::Cluster::status), which always has a primary.
    #[must_use]
    pub fn primary(&self) -> &NodeStatus {
        &self.nodes[0]
    }

    /// The other nodes.
    pub fn replicas(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes.iter().filter(|node| node.role == Role::Replica)
    }
}

/// How the search for replicas goes: see [`discovery`](crate::discovery). Holds no password.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// use bilten_db::Cluster;
/// use bilten_db::discovery::Dns;
///
/// let db = Cluster::builder()
///     .primary("sqlite::memory:")
///     .discovery(Dns::new("postgres://app@localhost/shop")) // of another kind than the primary
///     .connect()
///     .await?;
/// let found = db.status().discovery.expect("asked once when the cluster was built");
/// assert_eq!(found.problem, None, "the name is known");
/// assert!(found.refused.values().all(|problem| problem.contains("another kind of database")));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DiscoveryStatus {
    /// Why the last question brought no replica: an error, a panic, no answer in time, or an answer that names none. `None`
    /// after an answer. The replicas known by then stay.
    pub problem: Option<String>,
    /// Questions without a usable answer, in all.
    pub failures: u64,
    /// Replicas of the last answer that could not be added, by id, each with the reason.
    pub refused: BTreeMap<String, String>,
}

/// One node at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct NodeStatus {
    /// `primary`, or the id that the replica was given.
    pub id: String,
    /// Host and port, or the path of a file.
    pub address: String,
    /// Its part in the cluster.
    pub role: Role,
    /// Whether it is in rotation.
    pub state: State,
    /// Why it is not, or what is wrong with it although it is.
    pub reason: Option<String>,
    /// For how long it is left alone before the next trial, of a node that is out of rotation: 1 s doubling to about a
    /// minute, and that at once when it refused the user or the password.
    pub next_trial: Option<Duration>,
    /// What the operator ordered.
    pub rotation: Rotation,
    /// Statements running or waiting for a connection; streams and transactions count until they end.
    pub in_flight: u32,
    /// Its share beside the other replicas; see [`Balance`](crate::Balance).
    pub weight: u32,
    /// The group whose reads it serves; `None` for all reads that ask for none.
    pub group: Option<String>,
    /// What an answer takes, by the last ones: an average that follows a rise at once. 1 ms before the first answer;
    /// sinks while the node is not asked.
    pub latency: Duration,
    /// Its connections.
    pub pool: PoolStatus,
    /// How often it was taken out of rotation.
    pub ejections: u64,
    /// How much of the primary's log a replica has not replayed, in bytes (with MySQL and MariaDB in transactions); `None`
    /// when that is not known.
    pub lag_bytes: Option<u64>,
    /// The age of the newest state of the primary that a replica has replayed; `None` when that is not known.
    pub lag: Option<Duration>,
}

impl NodeStatus {
    /// Whether the node is in rotation by what is known about it.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }
}

/// The connections of one node; zeros for an adopted connection, which keeps them to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Open, or being opened.
    pub size: u32,
    /// Waiting for work, in the pool or for a moment beside it.
    pub idle: u32,
    /// Most that may be open.
    pub max: u32,
}

/// The part that a node plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Takes the writes.
    Primary,
    /// Serves reads.
    Replica,
}

/// Whether a node is in rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// In rotation.
    Up,
    /// Reachable, but further behind than allowed.
    Lagging,
    /// Out of rotation until a probe succeeds.
    Ejected,
    /// Out of rotation by order of the operator.
    Out,
}

/// Who decides whether a node serves reads: see [`Cluster::order`](crate::Cluster::order).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("bilten-db-order-{}.db", std::process::id()));
/// # let db = bilten_db::Cluster::builder().sqlite(&path).connect().await?;
/// use bilten_db::status::{Rotation, State};
///
/// db.order("readers", Rotation::Out)?; // its machine gets new memory
/// assert_eq!(db.status().replicas().next().map(|node| node.state), Some(State::Out));
/// db.order("readers", Rotation::Auto)?;
/// # db.close().await; for end in ["", "-wal", "-shm"] { let _ = std::fs::remove_file(format!("{}{end}", path.display())); }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Rotation {
    /// The cluster, by its probes and by how statements end. The default.
    Auto,
    /// In, even when probes fail or the node lags: for the operator who knows better.
    In,
    /// Out, however well it looks.
    Out,
}
