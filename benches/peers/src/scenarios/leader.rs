//! What becomes of the callers that wait for a load when its first caller goes away, or when
//! the load panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Column, PATIENCE, Round, Sample, Stand, counted, item};
use crate::peer::{Failure, Peer};

pub(super) const ABOUT_CANCELLED: &str = "a caller begins a load of 40 ms, ten more ask for the \
     same key, the first is dropped at 20 ms; not served: an error, or no answer within 3 s";

pub(super) const ABOUT_PANIC: &str = "a caller begins a load that panics after 40 ms, ten more \
     wait with loaders that work; not served: an error, or no answer within 3 s";

pub(super) const COLUMNS: &[Column] = &[
    counted("callers served of 10", 0),
    counted("loads", 0),
    counted("ms until the last answer", 0),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Cancelled,
    Panics,
}

/// What the loader panics with; the panic hook of `main` keeps quiet about it.
pub(crate) const PANIC: &str = "this load panics on purpose";

const FOLLOWERS: usize = 10;
const LOADER: Duration = Duration::from_millis(40);

pub(super) async fn prepare<P: Peer>(stand: Stand, fate: Fate) -> Result<Option<Round>, Failure> {
    if !P::COALESCES {
        return Ok(None);
    }
    let peer = Arc::new(P::start(&stand.setup(1_000)).await?);
    let rounds = Arc::new(AtomicUsize::new(0));
    Ok(Some(Box::new(move || {
        let peer = Arc::clone(&peer);
        let key = format!("{fate:?}:{}", rounds.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move { round(peer, key, fate).await })
    })))
}

async fn round<P: Peer>(peer: Arc<P>, key: String, fate: Fate) -> Result<Sample, Failure> {
    let loads = Arc::new(AtomicU64::new(0));
    let began = Arc::new(Notify::new());
    let leader = lead(&peer, &key, fate, &loads, &began);
    timeout(PATIENCE, began.notified()).await?;
    let started = Instant::now();
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|_| follow(&peer, &key, &loads))
        .collect();
    if fate == Fate::Cancelled {
        tokio::time::sleep(LOADER / 2).await;
        leader.abort();
    }
    let mut served = 0;
    for follower in followers {
        served += u32::from(follower.await.unwrap_or(false));
    }
    let wall = started.elapsed().as_secs_f64() * 1e3;
    // The leader's own end is not judged: it was dropped, or its loader panicked.
    drop(leader);
    Ok(Sample::of([
        f64::from(served),
        loads.load(Ordering::Relaxed) as f64,
        wall,
    ]))
}

fn lead<P: Peer>(
    peer: &Arc<P>,
    key: &str,
    fate: Fate,
    loads: &Arc<AtomicU64>,
    began: &Arc<Notify>,
) -> JoinHandle<()> {
    let (peer, key, loads) = (Arc::clone(peer), key.to_owned(), Arc::clone(loads));
    let began = Arc::clone(began);
    tokio::spawn(async move {
        let load = move || async move {
            loads.fetch_add(1, Ordering::Relaxed);
            began.notify_one();
            tokio::time::sleep(LOADER).await;
            assert!(fate == Fate::Cancelled, "{PANIC}");
            item(1, 0).await
        };
        // Nobody asks for this answer.
        let _ = peer.read(&key, load).await;
    })
}

fn follow<P: Peer>(peer: &Arc<P>, key: &str, loads: &Arc<AtomicU64>) -> JoinHandle<bool> {
    let (peer, key, loads) = (Arc::clone(peer), key.to_owned(), Arc::clone(loads));
    tokio::spawn(async move {
        let load = move || async move {
            loads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(LOADER).await;
            item(1, 0).await
        };
        matches!(timeout(PATIENCE, peer.read(&key, load)).await, Ok(Ok(_)))
    })
}
