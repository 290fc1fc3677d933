//! Readers at a fixed rate, whatever the answers take, and a writer.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bilten_benches::Walk;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::source::{PER_SECOND, Source};
use crate::tally::{Read, Tally};

/// One process of the service.
pub(crate) trait Instance: Send + Sync + 'static {
    /// The version of a row that a reader gets.
    fn get(&self, key: usize) -> impl Future<Output = io::Result<u64>> + Send;

    /// It has changed the row.
    fn changed(&self, key: usize) -> impl Future<Output = ()> + Send;
}

/// Runs the scenario once.
pub(crate) async fn run_step<I: Instance>(source: &Arc<Source>, instances: &[Arc<I>]) -> Tally {
    let plan = &source.plan;
    let mut walk = Walk::over(plan.keys);
    let hot: Vec<usize> = (0..8).map(|_| walk.step()).collect();
    let began = source.begin();
    let writer = tokio::spawn(write(Arc::clone(source), Arc::clone(&instances[0]), hot));
    let per_second = plan.reads_per_second * plan.instances;
    let mut tick = interval(Duration::from_secs(1) / per_second);
    // Open loop: a slow answer does not slow the readers that come after it.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut reads = JoinSet::new();
    for n in 0..plan.seconds * per_second {
        tick.tick().await;
        let instance = Arc::clone(&instances[n as usize % instances.len()]);
        reads.spawn(read(Arc::clone(source), instance, walk.step(), began));
    }
    let reads: Vec<Read> = reads.join_all().await;
    writer.abort();
    Tally::of(plan, reads, source.calls())
}

async fn read<I: Instance>(
    source: Arc<Source>,
    instance: Arc<I>,
    key: usize,
    began: Instant,
) -> Read {
    let asked = Instant::now();
    let (newest, since) = source.newest(key);
    let answer = tokio::time::timeout(source.plan.patience, instance.get(key)).await;
    let version = answer.ok().and_then(Result::ok);
    Read {
        bin: (asked.duration_since(began).as_secs_f64() * f64::from(PER_SECOND)) as usize,
        took: asked.elapsed(),
        failed: version.is_none(),
        // Whoever asked before the change may get what was there before it.
        old: version
            .filter(|version| *version < newest)
            .map_or(Duration::ZERO, |_| since),
    }
}

/// Changes one of the popular rows each half second, through the first instance.
async fn write<I: Instance>(source: Arc<Source>, instance: Arc<I>, hot: Vec<usize>) {
    let mut tick = interval(Duration::from_millis(500));
    for key in hot.into_iter().cycle() {
        tick.tick().await;
        if source.change(key) {
            instance.changed(key).await;
        }
    }
}
