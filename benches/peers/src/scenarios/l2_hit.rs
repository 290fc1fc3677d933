//! Hits in Redis: a fresh instance every round reads keys that an earlier one stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Column, Plan, Round, Sample, Stand, counted, fill, item, timed};
use crate::measure::{Allocations, wall_per};
use crate::peer::{Failure, Peer};
use crate::workload::keys;

pub(super) const COLUMNS: &[Column] = &[
    timed("µs/read, 1 task", 1),
    timed("µs/read, 64 tasks", 1),
    counted("commands/read", 2),
    counted("allocations/read", 1),
];

const TASKS: usize = 64;

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "{} keys in Redis, a fresh instance each round that has none of them in memory; half \
         are read by one task after the other, half by {TASKS} tasks",
        plan.l2_reads
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::LEVELS.has_redis() {
        return Ok(None);
    }
    let keys = Arc::new(keys("shared", stand.plan.l2_reads));
    let warm = Arc::new(self::keys("warm", 100));
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
    let peer = Arc::new(P::start(&stand.setup(keys.len() * 2)).await?);
    let loads = Arc::new(AtomicU64::new(0));
    read(&*peer, warm, &loads).await?;
    let (alone, together) = keys.split_at(keys.len() / 2);

    let before = stand.server.commands().await?;
    let work = wall_per(alone.len(), read(&*peer, alone, &loads));
    let ((done, single), allocations) = Allocations::counter().per(alone.len(), work).await;
    done?;
    let commands = stand.server.commands().await?.since(&before);

    let work = read_by_tasks(&peer, together, &loads);
    let (done, many) = wall_per(together.len(), work).await;
    done?;

    let per_read = commands.total() as f64 / alone.len() as f64;
    let mut sample = Sample::of([single, many, per_read, allocations]);
    let mut remark = commands.per(alone.len());
    let loads = loads.load(Ordering::Relaxed);
    if loads > 0 {
        remark = format!("{remark}; {loads} reads were not hits");
    }
    sample.remark = Some(remark);
    Ok(sample)
}

async fn read<P: Peer>(peer: &P, keys: &[String], loads: &Arc<AtomicU64>) -> Result<(), Failure> {
    for key in keys {
        let loads = Arc::clone(loads);
        let load = move || {
            loads.fetch_add(1, Ordering::Relaxed);
            item(0, 0)
        };
        std::hint::black_box(peer.read(key, load).await?);
    }
    Ok(())
}

async fn read_by_tasks<P: Peer>(
    peer: &Arc<P>,
    keys: &[String],
    loads: &Arc<AtomicU64>,
) -> Result<(), Failure> {
    let share = keys.len().div_ceil(TASKS);
    let tasks: Vec<_> = keys
        .chunks(share)
        .map(|keys| {
            let (peer, keys, loads) = (Arc::clone(peer), keys.to_vec(), Arc::clone(loads));
            tokio::spawn(async move { read(&*peer, &keys, &loads).await })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}
