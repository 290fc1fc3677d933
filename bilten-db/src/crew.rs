//! What works for a cluster in the background, and what a replica that joins is opened with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
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
    /// `None` once the cluster is closed: nothing follows.
    status: Mutex<Option<Arc<watch::Sender<ClusterStatus>>>>,
    /// What was told last, also after the end.
    told: watch::Receiver<ClusterStatus>,
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
            told: status.subscribe(),
            status: Mutex::new(Some(status)),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<ClusterStatus> {
        let mut subscribed = self.told.clone();
        subscribed.mark_unchanged();
        subscribed
    }

    /// Tells the subscribers now.
    pub(crate) fn publish(&self, router: &Router) {
        // Without the lock: whoever holds what was told last is waited for.
        let status = self.status().clone();
        if let Some(status) = status {
            tell(&status, router);
        }
    }

    /// Tells the subscribers for the last time: by another task, as this one may hold what `watch` lent it. Where there is no runtime
    /// any more they only hear that it was the last time.
    pub(crate) fn end(&self, router: &Arc<Router>) {
        let status = self.status().take();
        if let (Some(status), Ok(runtime)) = (status, Handle::try_current()) {
            let router = Arc::clone(router);
            runtime.spawn(async move { tell(&status, &router) });
        }
    }

    fn status(&self) -> MutexGuard<'_, Option<Arc<watch::Sender<ClusterStatus>>>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
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
        tell(&status, &router);
    }
}

/// Takes the status while nobody else tells one: otherwise an older one could come last.
fn tell(status: &watch::Sender<ClusterStatus>, router: &Router) {
    status.send_modify(|told| *told = snapshot(router));
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;
    use std::time::{Duration, Instant};

    use futures_util::FutureExt as _;
    use sea_orm::TransactionTrait as _;

    use crate::Cluster;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_watches_hears_of_the_end_though_nobody_waits_for_the_close() {
        let db = Cluster::builder().primary("sqlite::memory:").connect();
        let db = db.await.unwrap();
        let mut watched = db.watch();
        let tx = db.begin().await.unwrap();
        let closed = db.close().now_or_never();
        assert!(closed.is_none(), "it waits for the transaction");
        let end = async { while watched.changed().await.is_ok() {} };
        let ended = tokio::time::timeout(LIMIT, end).await;
        assert!(ended.is_ok(), "its loop goes on");
        tx.rollback().await.unwrap();
    }

    #[test]
    fn a_close_may_be_dropped_where_there_is_no_runtime_any_more() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let connect = Cluster::builder().primary("sqlite::memory:").connect();
        let db = runtime.block_on(connect).unwrap();
        let tx = runtime.block_on(db.begin()).unwrap();
        let watched = db.watch();
        let mut close = Box::pin(db.close());
        let closed = runtime.block_on(async { (&mut close).now_or_never() });
        assert!(closed.is_none(), "it waits for the transaction");
        drop(close);
        // Nothing follows, once the task that told what changed is gone too.
        bilten_testbed::eventually(LIMIT, || watched.has_changed().is_err());
        let _within = runtime.enter();
        drop((tx, db));
    }

    #[tokio::test]
    async fn what_is_told_last_is_what_was_true_last() {
        let db = Cluster::builder().primary("sqlite::memory:").connect();
        let db = db.await.unwrap();
        let watched = db.watch();
        let primary = &db.router().topology().primary;
        let ready = Barrier::new(2);
        thread::scope(|scope| {
            let held = watched.borrow();
            scope.spawn(|| {
                ready.wait();
                db.crew().publish(db.router());
            });
            ready.wait();
            // The other thread must wait for `held`; it gets there within a moment.
            let soon = Instant::now() + Duration::from_millis(50);
            while Instant::now() < soon {
                thread::yield_now();
            }
            // Nobody is notified of this, as if it were told by another thread before.
            primary.health.hold("fell over");
            drop(held);
        });
        let told = watched.borrow().primary().reason.clone();
        assert_eq!(told.as_deref(), Some("fell over"));
    }
}
