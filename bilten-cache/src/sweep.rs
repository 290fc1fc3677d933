//! Gives the space of dead values back. Reads never need it: a dead value is a miss.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt;

use crate::engine::Engine;
use crate::envelope::Head;
use crate::remote::Gate;
use crate::spans::Ask;
use crate::status::Swept;

/// How much of a value is looked at: its header and the first tags.
const LOOK: usize = 1_024;
/// Keys that are looked at together.
const TOGETHER: usize = 16;

pub(crate) async fn run(engine: &Engine) -> Swept {
    let Some(gate) = engine.gate.as_ref().filter(|_| !engine.read_only) else {
        return Swept::finished();
    };
    let (seen, removed) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut place = Some(String::new());
    while let Some(after) = place.as_deref() {
        // Without the markers nobody knows what is dead.
        if !engine.coherence.is_synced() {
            break;
        }
        let Ok(page) = gate.call(Ask::Scan, |remote| remote.scan(after)).await else {
            break;
        };
        seen.fetch_add(page.keys.len() as u64, Ordering::Relaxed);
        let removed = &removed;
        futures_util::stream::iter(page.keys)
            .for_each_concurrent(TOGETHER, |key| async move {
                let gone = discard(engine, gate, &key).await;
                removed.fetch_add(u64::from(gone), Ordering::Relaxed);
            })
            .await;
        place = page.next;
    }
    Swept {
        seen: seen.into_inner(),
        removed: removed.into_inner(),
        finished: place.is_none(),
    }
}

/// Removes the value of a key if it is dead. What does not answer, or is not ours, stays.
async fn discard(engine: &Engine, gate: &Gate, key: &str) -> bool {
    let Ok(bytes) = gate.call(Ask::Head, |remote| remote.head(key, LOOK)).await else {
        return false;
    };
    let Some(head) = Head::decode(&bytes) else {
        return false;
    };
    if !engine
        .coherence
        .outdates(key, &head.tags, head.position, head.incarnation)
    {
        return false;
    }
    // A value that was stored since does not begin like this.
    let gone = gate
        .call(Ask::Discard, |remote| remote.discard(key, bytes))
        .await;
    gone.unwrap_or(false)
}
