//! A thousand callers ask for one cold key at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{Column, PATIENCE, Round, Sample, Stand, counted, item};
use crate::peer::{Failure, Peer};

pub(super) const ABOUT: &str = "1,000 tasks read one cold key, the loader takes 50 ms; not \
     served: an error, or no answer within 3 s";

pub(super) const COLUMNS: &[Column] = &[
    counted("loads", 0),
    counted("wall ms (loader 50)", 0),
    counted("callers not served", 0),
];

const CALLERS: usize = 1_000;
const LOADER: Duration = Duration::from_millis(50);

pub(super) async fn prepare<P: Peer>(stand: Stand) -> Result<Option<Round>, Failure> {
    if !P::COALESCES {
        return Ok(None);
    }
    let peer = Arc::new(P::start(&stand.setup(1_000)).await?);
    let rounds = Arc::new(AtomicUsize::new(0));
    Ok(Some(Box::new(move || {
        let peer = Arc::clone(&peer);
        let key = format!("cold:{}", rounds.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move { round(peer, key).await })
    })))
}

async fn round<P: Peer>(peer: Arc<P>, key: String) -> Result<Sample, Failure> {
    let loads = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (peer, key, loads) = (Arc::clone(&peer), key.clone(), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = move || async move {
                    loads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(LOADER).await;
                    item(1, 0).await
                };
                matches!(timeout(PATIENCE, peer.read(&key, load)).await, Ok(Ok(_)))
            })
        })
        .collect();
    let mut served = 0;
    for caller in callers {
        served += usize::from(caller.await.unwrap_or(false));
    }
    let wall = started.elapsed().as_secs_f64() * 1e3;
    let loads = loads.load(Ordering::Relaxed) as f64;
    Ok(Sample::of([loads, wall, (CALLERS - served) as f64]))
}
