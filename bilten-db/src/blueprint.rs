//! How nodes are opened; kept with the cluster, so that replicas can join later.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::balance::Balance;
use crate::driver::Backend;
use crate::driver::adopted::Adopted;
use crate::driver::open::open;
use crate::driver::target::Target;
use crate::metrics::{Names, NodeMetrics};
use crate::node::Node;
use crate::replica::{Replica, Source};
use crate::traits::Traits;
use crate::{Error, PoolConfig};

/// How soon the server notices that the loser of a hedge was given up.
const HEDGED_CHECK: Duration = Duration::from_secs(1);

/// What all nodes have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blueprint {
    pub(crate) pool: PoolConfig,
    pub(crate) replica_pool: Option<PoolConfig>,
    /// The zone of this process.
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) balance: Balance,
    /// Statements on replicas are given up in the ordinary course of work.
    pub(crate) hedges: bool,
    /// Notified when the state of any node changed.
    pub(crate) changed: Arc<Notify>,
    /// What the metrics call the nodes.
    pub(crate) names: Arc<Names>,
}

impl Blueprint {
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.pool.check("pool")?;
        match &self.replica_pool {
            Some(pool) => pool.check("replica_pool"),
            None => Ok(()),
        }
    }

    pub(crate) fn primary(&self, source: &Source) -> Result<Arc<Node>, Error> {
        let target = Opening {
            id: "primary",
            field: "primary",
            source,
            pool: &self.pool,
            read_only: false,
            changed: &self.changed,
            names: &self.names,
        };
        target.node(Traits::default())
    }

    /// Connects to nothing yet.
    pub(crate) fn replica(&self, id: &str, replica: &Replica) -> Result<Arc<Node>, Error> {
        let field = format!("replica `{id}`");
        replica.check(&field)?;
        if replica.weight != 1 && !self.balance.weighs() {
            return Err(Error::invalid(
                format!("{field}.weight"),
                format!(
                    "is {}, but round robin gives each the same share",
                    replica.weight
                ),
                "choose Balance::Weighted, or leave the weight out",
            ));
        }
        let mut pool = self.pool_of(replica).clone();
        if self.hedges {
            pool.client_check = pool.client_check.or(Some(HEDGED_CHECK));
        }
        let target = Opening {
            id,
            field: &field,
            source: &replica.source,
            pool: &pool,
            read_only: true,
            changed: &self.changed,
            names: &self.names,
        };
        target.node(Traits {
            weight: replica.weight,
            near: self.zone.is_none() || self.zone == replica.zone,
            group: replica.group.clone(),
            same_file: false,
        })
    }

    /// The connections that read from the SQLite file at `path`.
    pub(crate) fn readers(&self, path: &str, connections: u32) -> Result<Arc<Node>, Error> {
        let pool = self.replica_pool.as_ref().unwrap_or(&self.pool);
        let pool = pool.clone().max(connections).min(pool.min.min(connections));
        pool.check("readers")?;
        let target = Opening {
            id: "readers",
            field: "readers",
            source: &Source::File(path.to_owned()),
            pool: &pool,
            read_only: true,
            changed: &self.changed,
            names: &self.names,
        };
        target.node(Traits {
            same_file: true,
            ..Traits::default()
        })
    }

    fn pool_of<'a>(&'a self, replica: &'a Replica) -> &'a PoolConfig {
        let own = replica.pool.as_ref().or(self.replica_pool.as_ref());
        own.unwrap_or(&self.pool)
    }
}

struct Opening<'a> {
    id: &'a str,
    /// How errors name the node.
    field: &'a str,
    source: &'a Source,
    pool: &'a PoolConfig,
    read_only: bool,
    changed: &'a Arc<Notify>,
    names: &'a Names,
}

impl Opening<'_> {
    fn node(self, traits: Traits) -> Result<Arc<Node>, Error> {
        let id: Arc<str> = Arc::from(self.id);
        let metrics = NodeMetrics::new(&id, self.names);
        let suspicion = Arc::new(Notify::new());
        let open_url = |url: &str| {
            open(Target {
                id: Arc::clone(&id),
                field: self.field,
                url,
                pool: self.pool.clone(),
                read_only: self.read_only,
                suspicion: Arc::clone(&suspicion),
                acquire_seconds: metrics.acquire_seconds(),
            })
        };
        let opened = match self.source {
            Source::Url(url) => open_url(url),
            Source::File(path) if path == ":memory:" => open_url("sqlite::memory:"),
            Source::File(path) => open_url(&format!("sqlite://{}", escape(path))),
            Source::Connection(conn) => {
                Ok(Arc::new(Adopted::new(conn.clone())) as Arc<dyn Backend>)
            }
        };
        // It never was there.
        let backend = opened.inspect_err(|_| metrics.gone())?;
        let changed = Arc::clone(self.changed);
        let node = Node::new(id, backend, metrics, suspicion, changed, traits);
        Ok(Arc::new(node))
    }
}

/// A path may hold characters that mean something in a URL.
fn escape(path: &str) -> String {
    path.replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23")
}
