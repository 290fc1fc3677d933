//! What a load does under its lease: it keeps it alive, stores its value, gives it back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::entry::Entry;
use crate::error::SharedError;
use crate::events::Refusal;
use crate::in_vain;
use crate::job::Job;
use crate::kept::Kept;
use crate::region_state::RegionState;
use crate::remote::{Gate, RemoteError};
use crate::spans::Ask;

/// Loads that are quicker may come to nothing one after the other: nobody has waited long for all of them.
pub(crate) const LONG: Duration = Duration::from_millis(100);

/// The same for a key of a call that has no value for it: of such keys there may be many, and to tell of one costs three calls in place of one.
pub(crate) const LONG_FOR_NOTHING: Duration = Duration::from_secs(1);

/// What goes to L2, and for how long.
pub(crate) type Parcel = (Result<Bytes, SharedError>, Duration);

/// Stores what a load brought; `kept` is the same in L1.
pub(crate) async fn store<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    (envelope, keep): Parcel,
    token: Option<u64>,
    kept: Option<Kept>,
    took: Duration,
) {
    let envelope = match envelope {
        Ok(envelope) => envelope,
        Err(source) => {
            state.kept_in_memory_only(key, source);
            return give_back(state, key, token, took >= LONG).await;
        }
    };
    // Without a lease nobody knows whether the value is still the newest: L2 does not get it.
    let (Some(token), Some(gate)) = (token, &state.engine.gate) else {
        return;
    };
    let put = async {
        let turn = gate.aside().await?;
        let put = gate.store_in(&turn, key, token, envelope.clone(), keep);
        put.await
    };
    let put = put.await;
    match put {
        Ok(false) => look_who_has_it(state, gate, key, &envelope, kept).await,
        Err(RemoteError::Overloaded) => left_out(state, gate, key, token).await,
        Err(RemoteError::TooLarge { .. }) => {
            state.refused(key, Refusal::TooLarge);
            // Its lease is free already.
            if took >= LONG {
                give_back(state, key, Some(token), true).await;
            }
        }
        // Where it failed, there is nobody to give the lease back to.
        Ok(true) | Err(_) => {}
    }
}

/// The value found no turn in time. Others do not wait for the end of its lease, if one call more has a place at once.
async fn left_out<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &str,
    token: u64,
) {
    state.refused(key, Refusal::Overloaded);
    let release = gate.call(Ask::Release, |remote| remote.release(key, token));
    let _ = release.await;
}

/// Gives the lease of a load back that has brought nothing for others, and `tells` them so if they may have waited long for that.
pub(crate) async fn give_back<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &str,
    token: Option<u64>,
    tells: bool,
) {
    let (Some(held), Some(gate)) = (token, &state.engine.gate) else {
        return;
    };
    if !tells {
        release(state, key, token).await;
        return;
    }
    // If there is no turn for it, it runs out by itself.
    let Ok(turn) = gate.aside().await else { return };
    in_vain::tell(gate, &turn, key).await;
    let release = gate.call_in(&turn, Ask::Release, |remote| remote.release(key, held));
    let _ = release.await;
}

/// A lease is lost to a change or to another load, which know something newer, and whose record may never come. But a full store gives up
/// first what ends first, and one that takes over has no leases: then what is in L1 is the newest there is, and without it nothing that is loaded
/// would be kept at all.
async fn look_who_has_it<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &Arc<str>,
    envelope: &Bytes,
    kept: Option<Kept>,
) {
    let start = state.engine.start(key);
    let there = gate.change(Ask::Read, |remote| remote.read(key)).await;
    let there = there.ok().flatten();
    if there.as_ref() == Some(envelope) {
        // The client has sent it twice.
        return;
    }
    state.refused(key, Refusal::LeaseLost);
    let Some(kept) = kept else { return };
    let there = there.and_then(|bytes| state.open(key, &bytes, &start).ok());
    let is_newer = there.is_some_and(|(_, there)| {
        there.position > kept.position || asked_for(&there) >= asked_for(&kept)
    });
    // A read prolongs the life of an entry that ends when nobody reads it.
    if is_newer || state.options.time_to_idle.is_some() {
        state.engine.memory.bury(&kept);
        return;
    }
    // Of a change that nobody hears of others may live as long, too.
    let now = state.engine.clock.now();
    kept.fresh_at_most_until(now.saturating_add(state.engine.coherence.isolated_after()));
}

/// When its source was asked, by the store's clock: of two values the later one knows more.
fn asked_for(entry: &Entry) -> u64 {
    let took = entry.load_time() / 1_000_000;
    entry.created_millis.saturating_sub(took)
}

/// Runs a load and keeps its lease alive meanwhile. One of many does that from when their call has its place: while it waits for one, another
/// process may have one.
pub(crate) async fn holding<V: Send + Sync + 'static, T>(
    state: &RegionState<V>,
    job: &Job,
    token: Option<u64>,
    load: impl Future<Output = T>,
) -> T {
    let Some(token) = token else {
        return load.await;
    };
    tokio::pin!(load);
    let (third, mut renewed) = (state.options.lease / 3, Instant::now());
    let mut running = job.how.runs();
    loop {
        tokio::select! {
            biased;
            result = &mut load => return result,
            () = job.how.begins(), if !running => {
                running = true;
                // It has its place: the lease may be about to end.
                if renewed.elapsed() < third / 2 {
                    continue;
                }
            }
            () = tokio::time::sleep(third) => {
                if !running {
                    continue;
                }
            }
        }
        renewed = Instant::now();
        // A lost lease is no reason to stop: the callers still want the value, and L2 will refuse it.
        tokio::select! {
            biased;
            result = &mut load => return result,
            // Boxed: most loads end before.
            _ = Box::pin(renew(state, &job.key, token)) => {}
        }
    }
}

/// Whether the lease stands, and does for another while. `None`: nobody has said so.
pub(crate) async fn renew<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &str,
    token: u64,
) -> Option<bool> {
    let hold = state.options.lease;
    let gate = state.engine.gate.as_ref()?;
    let turn = gate.aside().await.ok()?;
    let renewed = gate.call_in(&turn, Ask::Renew, |remote| remote.renew(key, token, hold));
    renewed.await.ok()
}

/// Gives the lease back. Whether it is known to be free.
pub(crate) async fn release<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &str,
    token: Option<u64>,
) -> bool {
    let (Some(token), Some(gate)) = (token, &state.engine.gate) else {
        return true;
    };
    // If this fails, the lease runs out by itself.
    let release = async {
        let turn = gate.aside().await?;
        gate.call_in(&turn, Ask::Release, |remote| remote.release(key, token))
            .await
    };
    Box::pin(release).await.is_ok()
}
