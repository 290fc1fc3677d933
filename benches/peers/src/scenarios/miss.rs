//! Misses in every level with a loader that answers at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Column, Plan, Round, Sample, Stand, counted, item, timed};
use crate::measure::{Allocations, Spread, wall_per};
use crate::peer::{Failure, Peer};
use crate::workload::keys;

pub(super) const COLUMNS: &[Column] = &[
    timed("µs/miss, one by one", 1),
    timed("µs/miss, by itself", 1),
    counted("commands/miss", 2),
    counted("allocations/miss", 1),
];

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "{} keys per round that nobody has, one task, the loader answers at once; one after the other, and {} by \
         themselves with a pause of {} ms before each, of which this is the median; the time is until the caller has the \
         value, commands and allocations until all is stored",
        plan.misses,
        alone(plan),
        PAUSE.as_millis()
    )
}

/// Long enough for what the last one has left to be done.
const PAUSE: Duration = Duration::from_millis(2);

fn alone(plan: &Plan) -> usize {
    plan.misses / 10
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    let peer = Arc::new(P::start(&stand.setup(stand.plan.misses * 20)).await?);
    let rounds = Arc::new(AtomicUsize::new(0));
    Ok(Some(Box::new(move || {
        let (stand, peer) = (stand.clone(), Arc::clone(&peer));
        let number = rounds.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { round(&stand, &*peer, number).await })
    })))
}

async fn round<P: Peer>(stand: &Stand, peer: &P, number: usize) -> Result<Sample, Failure> {
    read(peer, &keys(&format!("warm{number}"), 50)).await?;
    let keys = keys(&format!("miss{number}"), stand.plan.misses);
    stand.server.quiet().await?;

    let before = stand.server.commands().await?;
    let work = async {
        let (done, microseconds) = wall_per(keys.len(), read(peer, &keys)).await;
        done.map(|()| microseconds)
    };
    let (microseconds, allocations) = Allocations::counter().per(keys.len(), work).await;
    if P::LEVELS.has_redis() {
        stand.server.quiet().await?;
    }
    let commands = stand.server.commands().await?.since(&before);

    let alone = self::keys(&format!("alone{number}"), alone(&stand.plan));
    let alone = by_itself(peer, &alone).await?;

    let per_miss = commands.total() as f64 / keys.len() as f64;
    let mut sample = Sample::of([microseconds?, alone, per_miss, allocations]);
    sample.remark = P::LEVELS.has_redis().then(|| commands.per(keys.len()));
    Ok(sample)
}

/// The median of the waits for one value, in microseconds, while nothing else is under way.
async fn by_itself<P: Peer>(peer: &P, keys: &[String]) -> Result<f64, Failure> {
    let mut waits = Vec::with_capacity(keys.len());
    for key in keys {
        tokio::time::sleep(PAUSE).await;
        let (done, microseconds) = wall_per(1, read(peer, std::slice::from_ref(key))).await;
        done?;
        waits.push(microseconds);
    }
    Ok(Spread::of(waits).map_or(f64::NAN, |waits| waits.median))
}

async fn read<P: Peer>(peer: &P, keys: &[String]) -> Result<(), Failure> {
    for (key, id) in keys.iter().zip(0..) {
        std::hint::black_box(peer.read(key, move || item(id, 0)).await?);
    }
    Ok(())
}
