//! Looks at a node in the background: regularly, and at once when something failed on it.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::driver::Prober;
use crate::fault::Fault;
use crate::keep::keep;
use crate::node::Node;
use crate::router::Router;

const INTERVAL: Duration = Duration::from_secs(1);
/// Many calls may ask at once; the node is not asked more often than this.
const SHORTEST: Duration = Duration::from_millis(100);
/// For the connections that a replica keeps open.
const FILL_LIMIT: Duration = Duration::from_secs(5);

/// Tasks that end with their owner.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<Vec<Task>>);

#[derive(Debug)]
struct Task {
    /// `None` for a task that belongs to no node.
    node: Option<Weak<Node>>,
    handle: AbortHandle,
}

impl Watches {
    /// `prober` may have looked at the node already.
    pub(crate) fn start(&self, router: &Arc<Router>, node: &Arc<Node>, prober: Box<dyn Prober>) {
        let watch = watch(
            Arc::downgrade(router),
            Arc::downgrade(node),
            Arc::clone(&node.suspicion),
            prober,
        );
        self.own(Some(Arc::downgrade(node)), watch);
        self.own(Some(Arc::downgrade(node)), keep(Arc::downgrade(node)));
    }

    /// Runs a task that belongs to the cluster as a whole.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.own(None, task);
    }

    fn own(&self, node: Option<Weak<Node>>, task: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(task).abort_handle();
        let mut tasks = self.tasks();
        // Those of a node that was removed while it joined.
        tasks.retain(|task| !task.handle.is_finished());
        tasks.push(Task { node, handle });
    }

    /// Looks at this node no more.
    pub(crate) fn stop(&self, node: &Arc<Node>) {
        self.tasks().retain(|task| {
            let is_its = task
                .node
                .as_ref()
                .is_some_and(|owner| std::ptr::eq(owner.as_ptr(), Arc::as_ptr(node)));
            if is_its {
                task.handle.abort();
            }
            !is_its
        });
    }

    /// Ends every task.
    pub(crate) fn stop_all(&self) {
        self.tasks().drain(..).for_each(|task| task.handle.abort());
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.stop_all();
    }
}

async fn watch(
    router: Weak<Router>,
    node: Weak<Node>,
    suspicion: Arc<Notify>,
    mut prober: Box<dyn Prober>,
) {
    while let Some((pause, must_wait)) = node
        .upgrade()
        .map(|node| (pause(&node), node.health.must_wait()))
    {
        // Before the sleep the node is let go, so that a dropped cluster goes away at once.
        match pause {
            // A wrong password stays wrong, however much fails elsewhere meanwhile.
            Some(_) if must_wait => wait_out(&node, &suspicion).await,
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

/// Waits until the pause is over, which only the node itself makes shorter.
async fn wait_out(node: &Weak<Node>, suspicion: &Notify) {
    while let Some(left) = node.upgrade().map(|node| node.pause_left()) {
        if left.is_zero() || timeout(left, suspicion.notified()).await.is_err() {
            return;
        }
    }
}

/// How long to wait unless something fails; `None` for a node that is not watched without need.
fn pause(node: &Node) -> Option<Duration> {
    let out = (!node.health.is_up()).then(|| node.pause_left());
    next_look(out, node.backend.is_watched(), fastrand::f64())
}

/// A node that is `out` is tried when its pause is over, others after about a second: a fifth more or less by `dice` from
/// 0 to 1, or processes that were started together would ask together for ever.
fn next_look(out: Option<Duration>, is_watched: bool, dice: f64) -> Option<Duration> {
    let regular = || INTERVAL.mul_f64(0.8 + 0.4 * dice);
    out.or_else(|| is_watched.then(regular))
}

/// Whether a replica comes into rotation with the next good answer, and has fewer connections than it should keep.
fn is_to_join(router: &Router, node: &Node) -> bool {
    let is_due = !node.health.is_up() && node.pause_left().is_zero();
    is_due && router.topology().is_replica(node) && node.backend.is_short()
}

/// Asks the node and takes in its answer.
pub(crate) async fn look(router: &Router, node: &Node, prober: &mut dyn Prober) {
    let answers = node.answers_so_far();
    let mut asked = Instant::now();
    node.past.asks(node.backend.opened());
    let mut probed = prober.probe().await;
    if probed.is_ok() && is_to_join(router, node) {
        // Whoever is sent there first should not wait for a login.
        if let Ok(Err(fault)) = timeout(FILL_LIMIT, node.backend.fill()).await {
            tracing::debug!(node = %node.id, ?fault, "no connections before the first read");
        }
        asked = Instant::now();
        probed = prober.probe().await;
    }
    match probed {
        Ok(sample) => {
            router.roster().observe(node, asked, sample);
            if prober.found_stranded() {
                let left = node.backend.sift().await.answered;
                tracing::warn!(node = %node.id, address = node.backend.address(), left, "connections are dead that nobody closed");
            }
        }
        Err(Fault::Silent(waited) | Fault::Unheard(waited)) if node.answers_so_far() != answers => {
            tracing::debug!(node = %node.id, ?waited, "a probe had no answer, but statements had");
        }
        Err(Fault::Unheard(waited)) if !node.still_serves().await => {
            router.roster().missed(node, &Fault::Silent(waited), false);
        }
        Err(fault) => {
            let answers = node.answers_so_far() != answers;
            // Before its pool is given up, of which nobody could tell any more.
            let is_told = fault.is_of_a_pooler() && !answers && router.topology().is_replica(node);
            let serves = is_told.then(|| node.still_serves());
            router.roster().missed(node, &fault, answers);
            if let Some(serves) = serves
                && !serves.await
                && has_left(router, node)
            {
                // A pooler says at once that its server is gone, and lets those wait who asked before.
                node.backend.give_up();
            }
        }
    }
}

/// Whether it is a replica out of rotation: what waits for it is a read, and others can answer it.
fn has_left(router: &Router, node: &Node) -> bool {
    !node.health.is_up() && router.topology().is_replica(node)
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "postgres")]
    use std::collections::HashSet;

    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

    use super::*;
    use crate::Cluster;
    use crate::call::ExecuteUnprepared;
    use crate::driver::Sample;
    use crate::metrics::Reason;
    use crate::transaction::Tx;

    /// Gets no answer, while statements on the node may.
    struct Unheard {
        beside: Option<Arc<Node>>,
    }

    #[async_trait]
    impl Prober for Unheard {
        async fn probe(&mut self) -> Result<Sample, Fault> {
            if let Some(node) = &self.beside {
                let call = ExecuteUnprepared("select 1");
                node.run(&call, Reason::Read).await?;
            }
            Err(Fault::Silent(Duration::from_secs(1)))
        }
    }

    /// As [`Unheard`], while a transaction goes on.
    struct UnheardBut(Tx);

    #[async_trait]
    impl Prober for UnheardBut {
        async fn probe(&mut self) -> Result<Sample, Fault> {
            let answer = self.0.execute_unprepared("select 1").await;
            answer.map_err(Fault::Statement)?;
            Err(Fault::Silent(Duration::from_secs(1)))
        }
    }

    #[tokio::test]
    async fn a_node_that_answers_a_transaction_is_not_silent() {
        let built = Cluster::builder().primary("sqlite::memory:").connect();
        let db = built.await.unwrap();
        let primary = Arc::clone(&db.router().topology().primary);
        let tx = db.begin().await.unwrap();
        look(db.router(), &primary, &mut UnheardBut(tx)).await;
        assert!(primary.health.is_up());
    }

    #[tokio::test]
    async fn a_node_that_answers_others_is_not_silent() {
        let built = Cluster::builder().primary("sqlite::memory:").connect();
        let db = built.await.unwrap();
        let primary = Arc::clone(&db.router().topology().primary);
        let beside = Some(Arc::clone(&primary));
        look(db.router(), &primary, &mut Unheard { beside }).await;
        assert!(primary.health.is_up(), "one late probe ends nothing");
        look(db.router(), &primary, &mut Unheard { beside: None }).await;
        assert!(!primary.health.is_up());
    }

    #[tokio::test]
    async fn a_primary_that_refuses_a_write_is_looked_at_before_its_next_turn() {
        let db = Cluster::builder().primary("sqlite::memory:").connect();
        let db = db.await.unwrap();
        // Nobody but this test hears of it.
        db.crew().watches.stop_all();
        let primary = db.router().topology().primary.clone();
        let asked = || primary.suspicion.notified().now_or_never().is_some();
        db.execute_unprepared("PRAGMA query_only = on")
            .await
            .unwrap();
        asked();
        db.execute_unprepared("SELECT 1").await.unwrap();
        assert!(!asked(), "nothing is wrong yet");
        let write = "CREATE TABLE event (id integer)";
        db.execute_unprepared(write).await.unwrap_err();
        assert!(asked(), "it is looked at now");
    }

    #[test]
    fn the_next_look_is_a_fifth_early_or_late_by_the_dice() {
        let looks = [0.0, 0.25, 0.5, 0.75, 1.0].map(|dice| next_look(None, true, dice));
        let millis = looks.map(|look| look.map(|look| look.as_millis()));
        assert_eq!(millis, [800, 900, 1000, 1100, 1200].map(Some));
        let left = Some(Duration::from_secs(7));
        for dice in [0.0, 1.0] {
            assert_eq!(next_look(None, false, dice), None);
            // It has its dice already.
            assert_eq!(next_look(left, true, dice), left);
            assert_eq!(next_look(left, false, dice), left);
        }
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn each_look_at_a_node_rolls_the_dice_anew() {
        let postgres = bilten_testbed::shared::postgres().unwrap();
        let url = postgres.database("watch_dice").unwrap().primary_url();
        let db = Cluster::builder().primary(url).connect().await.unwrap();
        db.crew().watches.stop_all();
        let primary = Arc::clone(&db.router().topology().primary);
        primary.health.readmit(Instant::now());
        let looks: HashSet<Duration> = (0..50).filter_map(|_| pause(&primary)).collect();
        assert!(looks.len() > 25, "{looks:?}");
        let (least, most) = (INTERVAL.mul_f64(0.8), INTERVAL.mul_f64(1.2));
        assert!(looks.iter().all(|look| (least..=most).contains(look)));
    }
}
