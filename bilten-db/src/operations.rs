//! What an operator does to a running cluster.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::address::check_id;
use crate::node::Node;
use crate::pool_config::LONGEST;
use crate::router::Router;
use crate::status::{ClusterStatus, Rotation};
use crate::watch::look;
use crate::{Cluster, Error, Replica};

/// How long [`Cluster::close`] waits.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);
/// For connections whose statements were given up; transactions and streams may keep theirs for longer.
const FORCED_LIMIT: Duration = Duration::from_secs(1);

impl Cluster {
    /// The status, again and again: a new one whenever a node changes its state or its part, joins or leaves.
    ///
    /// Numbers such as the lag are those of that moment; ask [`status`](Self::status) for the newest. After
    /// [`close`](Self::close) one more comes, and no other.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
    /// # let db = bilten_db::Cluster::builder().primary("sqlite::memory:").connect().await?;
    /// let status = db.watch();
    /// assert!(status.borrow().primary().is_up());
    /// // while status.changed().await.is_ok() { report(&status.borrow()); }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ClusterStatus> {
        self.crew().subscribe()
    }

    /// One more replica. It gets no reads before its first good probe and before its
    /// [`min`](crate::PoolConfig::min) connections are open; when it cannot be reached it stays out, as at the
    /// start, and joins by itself.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the id is taken or empty, there are 32 replicas already, or the replica's settings have
    /// no meaning; [`Error::Closed`] when the cluster was closed, before or meanwhile.
    ///
    /// # Cancellation
    ///
    /// Dropped early, the replica is not there.
    pub async fn add_replica(
        &self,
        id: impl Into<String>,
        replica: impl Into<Replica>,
    ) -> Result<(), Error> {
        let id = id.into();
        check_id(&id)?;
        let router = self.shared_router();
        if router.is_closed() {
            return Err(Error::Closed);
        }
        router.topology().has_room(&id)?;
        let node = self.crew().blueprint.replica(&id, &replica.into())?;
        let primary = Arc::clone(&router.topology().primary);
        if node.backend.kind() != primary.backend.kind() {
            node.metrics.gone();
            return Err(Error::invalid(
                format!("replica `{id}`"),
                "is another kind of database than the primary",
                "give it the URL of a replica of the primary",
            ));
        }
        node.health.hold("joins: not looked at yet");
        router.roster().add(&node)?;
        // Not before: another one of this name may have been faster, and the number is its own.
        node.metrics.held();
        let mut joining = Joining(Some((router, &node)));
        let mut prober = node.backend.prober();
        look(router, &node, &mut *prober).await;
        self.crew().watches.start(router, &node, prober);
        if router.is_closed() {
            // Whoever closed the cluster may have missed this one.
            self.crew().watches.stop(&node);
            drop(joining);
            shut(&[node], false).await;
            return Err(Error::Closed);
        }
        joining.0 = None;
        tracing::info!(node = %node.id, address = node.backend.address(), "replica added");
        Ok(())
    }

    /// Takes a replica out for good: it gets no new reads, those that run may go on for `drain`, and then its
    /// connections are closed.
    ///
    /// `true` when everything ended by itself. Otherwise the statements that still ran were given up: reads go to another
    /// node, as after any failure; transactions and streams keep their connection until they end.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no such replica, or it is the primary now; [`Error::Closed`].
    ///
    /// # Cancellation
    ///
    /// The replica is out at once; dropped early, its connections are closed as their statements end.
    pub async fn remove_replica(&self, id: &str, drain: Duration) -> Result<bool, Error> {
        let router = self.shared_router();
        if router.is_closed() {
            return Err(Error::Closed);
        }
        let node = router.roster().remove(id)?;
        self.crew().watches.stop(&node);
        node.metrics.gone();
        let drained = until_idle(&node, drain).await;
        shut(&[node], drained).await;
        tracing::info!(node = id, drained, "replica removed");
        Ok(drained)
    }

    /// Keeps new reads away from a replica and waits until nothing runs on it any more, `limit` at most; `true` when
    /// that was so.
    ///
    /// It stays out until [`order`](Self::order) says otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no such replica, or it is the primary now; [`Error::Closed`].
    ///
    /// # Cancellation
    ///
    /// The replica stays out.
    pub async fn drain(&self, id: &str, limit: Duration) -> Result<bool, Error> {
        let node = self.command(id, Rotation::Out)?;
        Ok(until_idle(&node, limit).await)
    }

    /// Orders a replica in or out of rotation, whatever its probes say, or leaves that to the cluster again.
    ///
    /// A node ordered in is asked even while it is known to be down; reads that fail there go on elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when there is no such replica, or it is the primary now; [`Error::Closed`].
    pub fn order(&self, id: &str, rotation: Rotation) -> Result<(), Error> {
        self.command(id, rotation).map(drop)
    }

    fn command(&self, id: &str, rotation: Rotation) -> Result<Arc<Node>, Error> {
        let router = self.shared_router();
        if router.is_closed() {
            return Err(Error::Closed);
        }
        let node = router.topology().replica(id)?;
        node.health.order(rotation);
        tracing::info!(node = id, ?rotation, "ordered by the operator");
        // Told by another task: this one may hold what `watch` lent it.
        self.crew().blueprint.changed.notify_one();
        Ok(node)
    }

    /// Closes every pool and ends the probes; waits up to 30 s for statements that are running, then gives them up.
    /// Calls made after that fail with [`Error::Closed`].
    ///
    /// # Cancellation
    ///
    /// Dropped early, the cluster still refuses new calls, and those who [`watch`](Self::watch) are told the end.
    pub async fn close(&self) {
        self.close_within(CLOSE_LIMIT).await;
    }

    /// As [`close`](Self::close) with another limit; `true` when everything ended by itself. What has not takes up to a
    /// second more.
    ///
    /// # Cancellation
    ///
    /// As of [`close`](Self::close).
    pub async fn close_within(&self, limit: Duration) -> bool {
        let router = self.shared_router();
        router.close();
        let _told = Ending(self);
        self.crew().watches.stop_all();
        let nodes: Vec<_> = router.topology().nodes().cloned().collect();
        for node in &nodes {
            node.metrics.gone();
            node.closing();
        }
        let closing = join_all(nodes.iter().map(|node| node.backend.close()));
        let drained = timeout(limit.min(LONGEST), closing).await.is_ok();
        if !drained {
            shut(&nodes, false).await;
        }
        drained
    }
}

/// Tells those who watch a cluster that was closed the end of it, however long the closing is waited for.
struct Ending<'a>(&'a Cluster);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.crew().end(self.0.shared_router());
    }
}

/// A replica that nobody watches yet; taken out again unless it comes to that.
struct Joining<'a>(Option<(&'a Router, &'a Arc<Node>)>);

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        if let Some((router, node)) = self.0 {
            router.roster().withdraw(node);
            node.metrics.gone();
        }
    }
}

/// Whether everything on the node ended within `limit`.
async fn until_idle(node: &Node, limit: Duration) -> bool {
    let end = Instant::now() + limit.min(LONGEST);
    let mut pause = Duration::from_millis(2);
    let idle = async {
        // The driver does not tell when a connection comes back.
        while !node.is_idle() {
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    };
    timeout_at(end, idle).await.is_ok()
}

/// Closes the pools; what still runs is given up first unless it has `drained`.
async fn shut(nodes: &[Arc<Node>], drained: bool) {
    for node in nodes {
        node.closing();
        if !drained {
            node.backend.give_up();
        }
    }
    let closing = join_all(nodes.iter().map(|node| node.backend.close()));
    if timeout(FORCED_LIMIT, closing).await.is_err() {
        tracing::warn!("a transaction or a stream keeps a connection after its pool was closed");
    }
}
