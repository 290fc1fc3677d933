//! An invalidation runs while a load of the same key is under way: the load read the old row,
//! the row changed, the key was invalidated, and then the load ends. Who keeps the old value?

use std::borrow::Borrow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Column, PATIENCE, Plan, Round, Sample, Stand, counted, item};
use crate::peer::{Failure, Peer};
use crate::workload::keys;

pub(super) const COLUMNS: &[Column] = &[
    counted("stale, order forced", 0),
    counted("stale in Redis, order forced", 0),
    counted("stale, order by chance", 0),
];

const OLD: u64 = 1;
const NEW: u64 = 2;

pub(super) fn about(plan: &Plan) -> String {
    format!(
        "of {} keys, how many keep the old value after the invalidation has returned and the \
         load has ended; \"in Redis\" asks a fresh instance; by chance: load and invalidation \
         start and end at random within 30 ms",
        plan.race_keys
    )
}

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    let peer = Arc::new(P::start(&stand.setup(stand.plan.race_keys * 20)).await?);
    let rounds = Arc::new(AtomicUsize::new(0));
    Ok(Some(Box::new(move || {
        let (stand, peer) = (stand.clone(), Arc::clone(&peer));
        let number = rounds.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { round(&stand, &peer, number).await })
    })))
}

async fn round<P: Peer>(stand: &Stand, peer: &Arc<P>, number: usize) -> Result<Sample, Failure> {
    let count = stand.plan.race_keys;
    let forced = keys(&format!("forced{number}"), count);
    each(&forced, |key| invalidate_during_load(Arc::clone(peer), key)).await?;
    let chance = keys(&format!("chance{number}"), count);
    each(&chance, |key| invalidate_by_chance(Arc::clone(peer), key)).await?;
    stand.server.quiet().await?;

    let stale = stale(&**peer, &forced).await?;
    let by_chance = self::stale(&**peer, &chance).await?;
    let in_redis = if P::LEVELS.has_redis() {
        let fresh = P::start(&stand.setup(count * 2)).await?;
        self::stale(&fresh, &forced).await?
    } else {
        f64::NAN
    };
    Ok(Sample::of([stale, in_redis, by_chance]))
}

/// Runs `race` for all keys, 20 at a time.
async fn each<F>(keys: &[String], race: impl Fn(String) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let races = keys.iter().map(|key| race(key.clone()));
    let races = futures_util::stream::iter(races).buffer_unordered(20);
    races.try_for_each(|()| async { Ok(()) }).await
}

async fn invalidate_during_load<P: Peer>(peer: Arc<P>, key: String) -> Result<(), Failure> {
    let (has_read, read_old) = oneshot::channel();
    let (finish, may_finish) = oneshot::channel::<()>();
    let reader = tokio::spawn({
        let (peer, key) = (Arc::clone(&peer), key.clone());
        async move {
            let load = move || async move {
                let old = item(1, OLD).await;
                let _ = has_read.send(());
                let _ = may_finish.await;
                old
            };
            peer.read(&key, load).await.map(drop)
        }
    });
    timeout(PATIENCE, read_old).await??;
    // A peer may let the invalidation wait for the load; then the load is let go first.
    let invalidation = timeout(PATIENCE / 10, peer.invalidate(&key)).await;
    drop(finish);
    reader.await??;
    match invalidation {
        Ok(done) => done,
        Err(_) => timeout(PATIENCE, peer.invalidate(&key)).await?,
    }
}

async fn invalidate_by_chance<P: Peer>(peer: Arc<P>, key: String) -> Result<(), Failure> {
    let [start, load_for, invalidate_at] =
        [10, 20, 20].map(|limit| Duration::from_millis(fastrand::u64(0..limit)));
    let changed = Arc::new(AtomicUsize::new(0));
    let reader = tokio::spawn({
        let (peer, key, changed) = (Arc::clone(&peer), key.clone(), Arc::clone(&changed));
        async move {
            tokio::time::sleep(start).await;
            let load = move || async move {
                let version = if changed.load(Ordering::SeqCst) == 0 {
                    OLD
                } else {
                    NEW
                };
                tokio::time::sleep(load_for).await;
                item(1, version).await
            };
            peer.read(&key, load).await.map(drop)
        }
    });
    tokio::time::sleep(invalidate_at).await;
    changed.store(1, Ordering::SeqCst);
    timeout(PATIENCE, peer.invalidate(&key)).await??;
    reader.await?
}

/// How many keys still answer with the old value, although the source has the new one.
async fn stale<P: Peer>(peer: &P, keys: &[String]) -> Result<f64, Failure> {
    let mut stale = 0_u32;
    for key in keys {
        let value = timeout(PATIENCE, peer.read(key, || item(1, NEW))).await??;
        stale += u32::from(value.borrow().version == OLD);
    }
    Ok(f64::from(stale))
}
