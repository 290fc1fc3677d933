//! A hundred keys at once from Redis: a fresh instance every round reads what an earlier one stored.

use std::sync::Arc;

use super::{Column, Plan, Round, Sample, Stand, counted, fill, timed};
use crate::measure::{Allocations, wall_per};
use crate::peer::{Failure, Peer};
use crate::workload::keys;

const AT_ONCE: usize = 100;

pub(super) const COLUMNS: &[Column] = &[
    timed("µs/100 keys", 0),
    counted("commands/100 keys", 2),
    counted("allocations/100 keys", 0),
];

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "{} keys in Redis, a fresh instance each round that has none of them in memory; one task reads \
         {AT_ONCE} of them in one call, and then the next",
        plan.l2_reads
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::MANY {
        return Ok(None);
    }
    let keys = Arc::new(keys("many", stand.plan.l2_reads));
    let warm = Arc::new(self::keys("warm", AT_ONCE));
    let writer = P::start(&stand.setup(stand.plan.l2_reads * 2)).await?;
    fill(&writer, &keys).await?;
    fill(&writer, &warm).await?;
    stand.server.quiet().await?;
    drop(writer);
    Ok(Some(Box::new(move || {
        let (stand, keys, warm) = (stand.clone(), Arc::clone(&keys), Arc::clone(&warm));
        Box::pin(async move { round::<P>(&stand, &keys, &warm).await })
    })))
}

async fn round<P: Peer>(
    stand: &Stand,
    keys: &[String],
    warm: &[String],
) -> Result<Sample, Failure> {
    let peer = P::start(&stand.setup(keys.len() * 2)).await?;
    read(&peer, warm).await?;
    let calls = keys.len().div_ceil(AT_ONCE);
    let before = stand.server.commands().await?;
    let work = wall_per(calls, read(&peer, keys));
    let ((found, microseconds), allocations) = Allocations::counter().per(calls, work).await;
    let commands = stand.server.commands().await?.since(&before);
    let found = found?;
    if found != keys.len() {
        return Err(format!("{found} of {} keys were found", keys.len()).into());
    }
    let per_call = commands.total() as f64 / calls as f64;
    let mut sample = Sample::of([microseconds, per_call, allocations]);
    sample.remark = Some(commands.per(calls));
    Ok(sample)
}

async fn read<P: Peer>(peer: &P, keys: &[String]) -> Result<usize, Failure> {
    let mut found = 0;
    for keys in keys.chunks(AT_ONCE) {
        found += peer.read_many(keys).await?;
    }
    Ok(found)
}
