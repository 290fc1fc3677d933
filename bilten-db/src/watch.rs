//! Looks at a node in the background: regularly, and at once when something failed on it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::driver::Prober;
use crate::node::{Node, cause};

const INTERVAL: Duration = Duration::from_secs(1);
/// Many calls may ask at once; the node is not asked more often than this.
const SHORTEST: Duration = Duration::from_millis(100);

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub(crate) struct Watches(Vec<AbortHandle>);

impl Watches {
    pub(crate) fn start(&mut self, node: &Arc<Node>) {
        let watch = watch(
            Arc::downgrade(node),
            Arc::clone(&node.suspicion),
            node.backend.prober(),
        );
        self.0.push(tokio::spawn(watch).abort_handle());
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn watch(node: Weak<Node>, suspicion: Arc<tokio::sync::Notify>, mut prober: Box<dyn Prober>) {
    while let Some(pause) = node.upgrade().map(|node| pause(&node)) {
        // Before the sleep the node is let go, so that a dropped cluster goes away at once.
        match pause {
            Some(pause) => drop(timeout(pause, suspicion.notified()).await),
            None => suspicion.notified().await,
        }
        let Some(node) = node.upgrade() else {
            return;
        };
        look(&node, &mut *prober).await;
        drop(node);
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

async fn look(node: &Node, prober: &mut dyn Prober) {
    // An ejected node is not asked before its pause is over, however many calls fail meanwhile.
    match prober.probe().await {
        Ok(_) if !node.pause_left().is_zero() => {}
        Ok(_) => node.readmit(),
        Err(fault) => node.eject(&cause(&fault)),
    }
}
