//! Hits in memory, one task, keys drawn by popularity.

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Column, Plan, Round, Sample, Stand, counted, fill, item, timed};
use crate::measure::{Allocations, CpuTime};
use crate::peer::{Failure, Peer};
use crate::workload::{keys, zipf};

pub(super) const COLUMNS: &[Column] = &[timed("CPU ns/hit", 0), counted("allocations/hit", 2)];

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "{} keys in memory, {} reads per round drawn by Zipf 0.99, one task, through the call \
         that would load on a miss; CPU time of the reading thread",
        plan.l1_keys, plan.l1_reads
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::LEVELS.has_memory() {
        return Ok(None);
    }
    let plan = stand.plan;
    // Twice the room: no policy has a reason to refuse or evict anything.
    let peer = Arc::new(P::start(&stand.setup(plan.l1_keys * 2)).await?);
    let keys = Arc::new(keys("hit", plan.l1_keys));
    let trace = Arc::new(zipf(plan.l1_keys, 0.99, plan.l1_reads));
    fill(&*peer, &keys).await?;
    stand.server.quiet().await?;
    Ok(Some(Box::new(move || {
        let (peer, keys, trace) = (Arc::clone(&peer), Arc::clone(&keys), Arc::clone(&trace));
        Box::pin(async move { round(&*peer, &keys, &trace).await })
    })))
}

async fn round<P: Peer>(peer: &P, keys: &[String], trace: &[u32]) -> Result<Sample, Failure> {
    let loads = Arc::new(AtomicU64::new(0));
    read(peer, keys, &trace[..trace.len() / 10], &loads).await?;
    loads.store(0, Ordering::Relaxed);

    let cpu = CpuTime::start();
    read(peer, keys, trace, &loads).await?;
    let nanoseconds = cpu.elapsed().as_secs_f64() * 1e9 / trace.len() as f64;

    let counted = &trace[..trace.len() / 4];
    let work = read(peer, keys, counted, &loads);
    let (done, allocations) = Allocations::counter().per(counted.len(), work).await;
    done?;

    let mut sample = Sample::of([nanoseconds, allocations]);
    let loads = loads.load(Ordering::Relaxed);
    if loads > 0 {
        sample.remark = Some(format!("{loads} reads were not hits"));
    }
    Ok(sample)
}

async fn read<P: Peer>(
    peer: &P,
    keys: &[String],
    trace: &[u32],
    loads: &Arc<AtomicU64>,
) -> Result<(), Failure> {
    let mut sum = 0_u64;
    for &index in trace {
        let loads = Arc::clone(loads);
        let load = move || {
            loads.fetch_add(1, Ordering::Relaxed);
            item(u64::from(index), 0)
        };
        let value = peer.read(&keys[index as usize], load).await?;
        sum = sum.wrapping_add(value.borrow().id);
    }
    std::hint::black_box(sum);
    Ok(())
}
