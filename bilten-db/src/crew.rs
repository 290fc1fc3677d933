//! What works for a cluster in the background, and what a replica that joins is opened with.

use std::sync::{Arc, Weak};

use tokio::sync::{Notify, watch};

use crate::blueprint::Blueprint;
use crate::router::Router;
use crate::snapshot::snapshot;
use crate::status::ClusterStatus;
use crate::watch::Watches;

/// Shared by all clones of a cluster; its tasks end with the last of them.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) blueprint: Blueprint,
    pub(crate) watches: Watches,
    status: Arc<watch::Sender<ClusterStatus>>,
}

impl Crew {
    /// Begins to publish the status.
    pub(crate) fn new(router: &Arc<Router>, blueprint: Blueprint, watches: Watches) -> Self {
        let status = Arc::new(watch::Sender::new(snapshot(router)));
        let changed = Arc::clone(&blueprint.changed);
        watches.run(publish(
            Arc::downgrade(router),
            changed,
            Arc::clone(&status),
        ));
        Self {
            blueprint,
            watches,
            status,
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<ClusterStatus> {
        self.status.subscribe()
    }

    /// Tells the subscribers now.
    pub(crate) fn publish(&self, router: &Router) {
        self.status.send_replace(snapshot(router));
    }
}

async fn publish(
    router: Weak<Router>,
    changed: Arc<Notify>,
    status: Arc<watch::Sender<ClusterStatus>>,
) {
    loop {
        changed.notified().await;
        let Some(router) = router.upgrade() else {
            return;
        };
        status.send_replace(snapshot(&router));
    }
}
