//! A thousand keys of many are invalidated by pattern.

use std::borrow::Borrow;
use std::sync::Arc;

use super::{Column, Plan, Round, Sample, Stand, counted, fill, item, timed};
use crate::measure::wall_per;
use crate::peer::{Failure, Peer, Setup};
use crate::workload::keys;

pub(super) const COLUMNS: &[Column] = &[
    timed("wall ms", 2),
    counted("commands", 0),
    counted("left behind of 1,000", 0),
    counted("others lost of 1,000", 0),
];

const MATCHING: usize = 1_000;
const OLD: u64 = 0;
const NEW: u64 = 1;

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "1,000 of {} keys are invalidated by `hot:*`; left behind: still the old value; others \
         lost: keys that do not match and were loaded again",
        plan.pattern_keys
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::PATTERNS {
        return Ok(None);
    }
    let setup = Setup {
        patterns: true,
        ..stand.setup(stand.plan.pattern_keys * 2)
    };
    let peer = Arc::new(P::start(&setup).await?);
    fill(&*peer, &keys("cold", stand.plan.pattern_keys - MATCHING)).await?;
    Ok(Some(Box::new(move || {
        let (stand, peer) = (stand.clone(), Arc::clone(&peer));
        Box::pin(async move { round(&stand, &*peer).await })
    })))
}

async fn round<P: Peer>(stand: &Stand, peer: &P) -> Result<Sample, Failure> {
    let matching = keys("hot", MATCHING);
    let others = keys("cold", MATCHING);
    // The round before left new values; `fill` stores old ones.
    for key in &matching {
        peer.invalidate(key).await?;
    }
    fill(peer, &matching).await?;
    stand.server.quiet().await?;

    let before = stand.server.commands().await?;
    let (done, microseconds) = wall_per(1, peer.invalidate_prefix("hot:")).await;
    done?;
    let commands = stand.server.commands().await?.since(&before);

    let left_behind = MATCHING as u32 - loaded_again(peer, &matching).await?;
    let lost = loaded_again(peer, &others).await?;
    if lost > 0 {
        for key in &others {
            peer.invalidate(key).await?;
        }
        fill(peer, &others).await?;
    }
    let figures = [
        microseconds / 1e3,
        commands.total() as f64,
        f64::from(left_behind),
        f64::from(lost),
    ];
    let mut sample = Sample::of(figures);
    sample.remark = P::LEVELS.has_redis().then(|| commands.per(1));
    Ok(sample)
}

async fn loaded_again<P: Peer>(peer: &P, keys: &[String]) -> Result<u32, Failure> {
    let mut again = 0;
    for key in keys {
        let value = peer.read(key, || item(1, NEW)).await?;
        again += u32::from(value.borrow().version != OLD);
    }
    Ok(again)
}
