//! One replica as it is described to a cluster.

use std::fmt;
use std::sync::Arc;

use sea_orm::DatabaseConnection;

use crate::{Error, PoolConfig};

/// A node that serves reads: where it is, and how much of the work it takes.
///
/// A URL alone is enough where the defaults do: `replica("r1", "postgres://app@db-2/shop")`.
///
/// ```
/// use bilten_db::{Cluster, Replica};
///
/// let builder = Cluster::builder()
///     .zone("eu-1a")
///     .replica("near", Replica::new("postgres://app@db-2/shop").zone("eu-1a"))
///     .replica("far", Replica::new("postgres://app@db-3/shop").zone("eu-1b"))
///     .replica("night", Replica::new("postgres://app@db-4/shop").group("reports"));
/// # drop(builder);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Replica {
    pub(crate) source: Source,
    pub(crate) weight: u32,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) pool: Option<PoolConfig>,
}

/// Where the connections of a node come from.
#[derive(Clone)]
pub(crate) enum Source {
    Url(String),
    File(String),
    Connection(DatabaseConnection),
}

impl Replica {
    /// The replica at `url`; the same forms as those of [`ClusterBuilder::primary`](crate::ClusterBuilder::primary).
    pub fn new(url: impl Into<String>) -> Self {
        Self::from_source(Source::Url(url.into()))
    }

    pub(crate) fn from_source(source: Source) -> Self {
        Self {
            source,
            weight: 1,
            zone: None,
            group: None,
            pool: None,
        }
    }

    /// Its share beside the others. Defaults to 1; at least 1.
    ///
    /// Needs a [`Balance`](crate::Balance) that weighs, which [`Balance::RoundRobin`](crate::Balance::RoundRobin) does
    /// not.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Where it stands. With a [`ClusterBuilder::zone`](crate::ClusterBuilder::zone), replicas of the same zone are
    /// asked first, others only when none of them has a connection to spare.
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Keeps it for the reads that ask for this group, by [`Session::group`](crate::Session::group) or
    /// [`Route::Group`](crate::scope::Route::Group): long reports do not slow the others down.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Its pool, where it differs from that of the other replicas.
    pub fn pool(mut self, pool: PoolConfig) -> Self {
        self.pool = Some(pool);
        self
    }

    /// `field` names the replica in the error.
    pub(crate) fn check(&self, field: &str) -> Result<(), Error> {
        if self.weight == 0 {
            return Err(Error::invalid(
                format!("{field}.weight"),
                "is 0, so it would never be asked",
                "give it at least 1, or leave the replica out",
            ));
        }
        for (name, value) in [("zone", &self.zone), ("group", &self.group)] {
            if value.as_ref().is_some_and(|value| value.is_empty()) {
                return Err(Error::invalid(
                    format!("{field}.{name}"),
                    "is empty",
                    "name it, or leave it out",
                ));
            }
        }
        match &self.pool {
            Some(pool) => pool.check(&format!("{field}.pool")),
            None => Ok(()),
        }
    }
}

impl From<&str> for Replica {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<&String> for Replica {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

impl From<String> for Replica {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<DatabaseConnection> for Replica {
    /// A connection that exists already: see
    /// [`ClusterBuilder::from_connections`](crate::ClusterBuilder::from_connections).
    fn from(connection: DatabaseConnection) -> Self {
        Self::from_source(Source::Connection(connection))
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("Replica")
            .field("weight", &self.weight)
            .field("zone", &self.zone)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}
