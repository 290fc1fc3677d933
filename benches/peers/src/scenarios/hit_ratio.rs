//! How many reads find their key in a memory that has room for one key in a hundred.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Column, Plan, Round, Sample, Stand, compared, counted};
use crate::peer::{Failure, Peer, Setup};
use crate::workload::{Drift, Item, drifting};

const KEYS: usize = 100_000;
const ROOM: usize = 1_000;

pub(super) const COLUMNS: &[Column] = &[
    compared("% hits, Zipf 0.99", 1),
    compared("% hits, with one-off keys", 1),
    compared("% hits, shifting", 1),
    counted("entries kept", 0),
];

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "room for {ROOM} of {KEYS} keys, no Redis, {} reads by one task drawn by Zipf 0.99; then with one \
         read in five of a key that never comes again; then with other popular keys after each quarter",
        plan.ratio_reads
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::ALONE {
        return Ok(None);
    }
    Ok(Some(Box::new(move || {
        let stand = stand.clone();
        Box::pin(async move { round::<P>(&stand).await })
    })))
}

async fn round<P: Peer>(stand: &Stand) -> Result<Sample, Failure> {
    let reads = stand.plan.ratio_reads;
    let mut figures = Vec::new();
    let mut held = 0;
    for drift in [Drift::None, Drift::OneOff, Drift::Every(reads / 4)] {
        let setup = Setup {
            alone: true,
            ..stand.setup(ROOM)
        };
        let peer = P::start(&setup).await?;
        let trace = drifting(KEYS, 0.99, reads, drift);
        let loads = read(&peer, &trace).await?;
        figures.push((1.0 - loads as f64 / reads as f64) * 100.0);
        held = held.max(peer.held());
    }
    figures.push(held as f64);
    Ok(Sample::of(figures))
}

/// How many of the reads had to load.
async fn read<P: Peer>(peer: &P, trace: &[u32]) -> Result<u64, Failure> {
    let loads = Arc::new(AtomicU64::new(0));
    for &index in trace {
        let counter = Arc::clone(&loads);
        let load = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async { Item::bare(0) }
        };
        // Of one length: whoever counts bytes has the same room.
        peer.read(&format!("zipf:{index:08}"), load).await?;
    }
    Ok(loads.load(Ordering::Relaxed))
}
