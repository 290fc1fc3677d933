//! Looks at a node in the background: regularly, and at once when something failed on it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::driver::Prober;
use crate::node::Node;
use crate::router::Router;

const INTERVAL: Duration = Duration::from_secs(1);
/// Many calls may ask at once; the node is not asked more often than this.
const SHORTEST: Duration = Duration::from_millis(100);

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub(crate) struct Watches(Vec<AbortHandle>);

impl Watches {
    pub(crate) fn start(&mut self, router: &Arc<Router>, node: &Arc<Node>) {
        let watch = watch(
            Arc::downgrade(router),
            Arc::downgrade(node),
            Arc::clone(&node.suspicion),
        );
        self.0.push(tokio::spawn(watch).abort_handle());
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn watch(router: Weak<Router>, node: Weak<Node>, suspicion: Arc<Notify>) {
    let Some(mut prober) = node.upgrade().map(|node| node.backend.prober()) else {
        return;
    };
    while let Some(pause) = node.upgrade().map(|node| pause(&node)) {
        // Before the sleep the node is let go, so that a dropped cluster goes away at once.
        match pause {
            Some(pause) => drop(timeout(pause, suspicion.notified()).await),
            None => suspicion.notified().await,
        }
        let (Some(router), Some(node)) = (router.upgrade(), node.upgrade()) else {
            return;
        };
        look(&router, &node, &mut *prober).await;
        drop((router, node));
        sleep(SHORTEST).await;
    }
}

/// How long to wait unless something fails; `None` for a node that is not watched without need.
fn pause(node: &Node) -> Option<Duration> {
    if !node.health.is_up() {
        return Some(node.pause_left());
    }
    node.backend
        .is_watched()
        .then(|| INTERVAL.mul_f64(0.8 + 0.4 * fastrand::f64()))
}

/// Asks the node and takes in its answer.
pub(crate) async fn look(router: &Router, node: &Node, prober: &mut dyn Prober) {
    match prober.probe().await {
        Ok(sample) => router.roster().observe(node, sample),
        Err(fault) => router.roster().missed(node, &fault),
    }
}
