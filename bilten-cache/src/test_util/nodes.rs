use std::fmt;
use std::ops::Index;
use std::time::Duration;

use tokio::time::Instant;

use super::{FaultyRemote, ManualClock};
use crate::cache::{Cache, CacheBuilder};
use crate::error::Error;

/// Far longer than anything takes that has to come; only reached when it does not.
const DEADLINE: Duration = Duration::from_secs(20);

/// Several processes of a service, as far as their caches can tell: one store, one clock, and a way to the store for each.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::test_util::Nodes;
///
/// let mut nodes = Nodes::start(3).await?;
/// let stock = |nodes: &Nodes, node: usize| nodes[node].region::<str, u32>("stock").build();
/// stock(&nodes, 0)?.set("tea", 7).await?;
/// assert_eq!(stock(&nodes, 2)?.get("tea").await.as_deref(), Some(&7));
///
/// // A node that is cut off from the log does not hear of a change; it does afterwards.
/// nodes.cut_log(2, true);
/// stock(&nodes, 1)?.remove("tea").await?;
/// nodes.settled().await; // all that are connected know all that was said
/// assert_eq!(stock(&nodes, 2)?.peek("tea").as_deref(), Some(&7));
/// nodes.cut_log(2, false);
/// nodes.settled().await;
/// assert_eq!(stock(&nodes, 2)?.peek("tea"), None);
///
/// // A process that is started anew has no memory.
/// nodes.restart(0).await?;
/// assert_eq!(stock(&nodes, 0)?.peek("tea"), None);
/// # Ok(()) }
/// ```
pub struct Nodes {
    store: FaultyRemote,
    clock: ManualClock,
    settings: Box<dyn Fn(CacheBuilder) -> CacheBuilder + Send + Sync>,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    cache: Cache,
    way: FaultyRemote,
    cut: bool,
}

impl Nodes {
    /// So many nodes with the settings that a cache has by itself.
    ///
    /// # Errors
    ///
    /// None with these settings; those of [`CacheBuilder::build`].
    pub async fn start(count: usize) -> Result<Self, Error> {
        Self::start_with(count, |builder| builder).await
    }

    /// So many nodes with settings of the test's own. Store and clock are those of the nodes.
    ///
    /// # Errors
    ///
    /// Those of [`CacheBuilder::build`].
    pub async fn start_with(
        count: usize,
        settings: impl Fn(CacheBuilder) -> CacheBuilder + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let clock = ManualClock::new();
        let mut nodes = Self {
            store: FaultyRemote::new().with_clock(&clock),
            clock,
            settings: Box::new(settings),
            nodes: Vec::new(),
        };
        for _ in 0..count {
            let node = nodes.open().await?;
            nodes.nodes.push(node);
        }
        Ok(nodes)
    }

    async fn open(&self) -> Result<Node, Error> {
        let way = self.store.another_node();
        let builder = (self.settings)(Cache::builder("nodes"));
        let builder = builder.remote(way.clone()).clock(&self.clock);
        Ok(Node {
            cache: builder.build().await?,
            way,
            cut: false,
        })
    }

    /// Ends a node without a word, as `kill -9` does, and starts another one in its place. Regions of the old one go on without it: make
    /// them anew.
    ///
    /// # Errors
    ///
    /// Those of [`CacheBuilder::build`].
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub async fn restart(&mut self, node: usize) -> Result<(), Error> {
        let started = self.open().await?;
        self.nodes[node].way.cut_log(true);
        self.nodes[node] = started;
        Ok(())
    }

    /// The store of all of them, to make it fail and to hold calls up.
    #[must_use]
    pub fn store(&self) -> &FaultyRemote {
        &self.store
    }

    /// The clock of all of them. A step longer than `isolated_ttl` makes their memory wait for the next word from the log:
    /// [`settled`](Self::settled).
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Cuts a node off from the log, or no longer. Its other calls go on.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn cut_log(&mut self, node: usize, yes: bool) {
        let node = &mut self.nodes[node];
        node.way.cut_log(yes);
        node.cut = yes;
    }

    /// Waits until every node that is not cut off has heard all that was said and handed over all that it had to say.
    ///
    /// # Panics
    ///
    /// When that takes longer than 20 s, for example because the store fails.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is changed.
    pub async fn settled(&self) {
        let deadline = Instant::now() + DEADLINE;
        while let Some(node) = self.unsettled() {
            assert!(
                Instant::now() < deadline,
                "node {node} has not settled: {:?}",
                self.nodes[node]
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn unsettled(&self) -> Option<usize> {
        use crate::status::Connection;
        let said = self.store.log_position();
        self.nodes.iter().position(|node| {
            let status = node.cache.status();
            let heard = status.log_position == said && status.connection == Connection::Connected;
            !node.cut && (!heard || status.waiting > 0)
        })
    }
}

impl Index<usize> for Nodes {
    type Output = Cache;

    fn index(&self, node: usize) -> &Cache {
        &self.nodes[node].cache
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.nodes).finish()
    }
}
