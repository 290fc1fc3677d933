//! Reads at a fixed rate, whatever the answers take.

use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bilten_benches::{Item, Walk, keys};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What the run does, in seconds from its start.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seconds: u64,
    pub(crate) away: Range<u64>,
    pub(crate) reads_per_second: u64,
    pub(crate) keys: u32,
}

/// A cache with a loader behind it. The answer tells whether there was a value.
pub(crate) trait Reader: Send + Sync + 'static {
    fn get(&self, key: &str) -> impl Future<Output = bool> + Send;
}

/// The source of truth: a database that takes 5 ms.
pub(crate) async fn load() -> Item {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Item::new(1)
}

/// The 99th percentile of the time of the reads that began in each second. A read without a value counts as the
/// slowest.
pub(crate) async fn read(reader: Arc<impl Reader>, plan: &Plan) -> Vec<Duration> {
    let names: Arc<[String]> = keys("item", plan.keys as usize).into();
    let mut walk = Walk::over(plan.keys);
    let mut reads = JoinSet::new();
    let mut tick =
        interval(Duration::from_secs(1) / u32::try_from(plan.reads_per_second).unwrap_or(u32::MAX));
    // Open loop: a slow answer does not slow the callers that come after it.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    for _ in 0..plan.seconds * plan.reads_per_second {
        tick.tick().await;
        let (reader, names, step) = (Arc::clone(&reader), Arc::clone(&names), walk.step());
        reads.spawn(async move {
            let asked = Instant::now();
            let there = reader.get(&names[step]).await;
            let took = if there {
                asked.elapsed()
            } else {
                Duration::MAX
            };
            (asked.duration_since(began).as_secs(), took)
        });
    }
    let mut seconds = vec![Vec::new(); usize::try_from(plan.seconds).unwrap_or(0)];
    while let Some(read) = reads.join_next().await {
        if let Ok((second, took)) = read
            && let Some(second) = seconds.get_mut(usize::try_from(second).unwrap_or(usize::MAX))
        {
            second.push(took);
        }
    }
    seconds.into_iter().map(p99).collect()
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times
        .get(times.len() * 99 / 100)
        .copied()
        .unwrap_or(Duration::MAX)
}
