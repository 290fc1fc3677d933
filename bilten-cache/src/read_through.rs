//! The one place that knows the way of a read: L1, then one flight per key, then L2, then the loader.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Start;
use crate::error::{BoxError, Error};
use crate::loader::{Job, LoadContext, Loaded};
use crate::region_state::{Landed, Level, Packed, RegionState};
use crate::remote::{Gate, Lease};
use crate::single_flight::{Passenger, Pilot, Seat};

const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

type Shared<V> = Arc<RegionState<V>>;

/// What L2 had to say.
enum Look<V> {
    Found(Arc<V>),
    /// Nothing of use; with the token of our lease, if we got one.
    Missing(Option<u64>),
}

/// Reads from L2 only, for a key that L1 does not have.
pub(crate) async fn get<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
) -> Option<Arc<V>> {
    let gate = state.readable(key)?;
    read(state, gate, key).await.ok()?.ok()
}

/// Boards the flight of a key that L1 does not have, or starts one. Not `async`, so that no caller's future has to hold
/// a loader.
pub(crate) fn board<V, T, E, F, Fut>(
    state: &Shared<V>,
    key: &Arc<str>,
    load: F,
) -> Result<Passenger<Landed<V>>, Error>
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let engine = &state.engine;
    let job = Job::new(engine.node, &state.name, key, state.options.load_timeout)?;
    let lost = || {
        Err(Error::LoadAbandoned {
            region: Arc::clone(&state.name),
        })
    };
    let may_join = |start: &Start| engine.is_current(key, start);
    match state
        .flights
        .board(key, may_join, || engine.start(key), lost())
    {
        Seat::Passenger(passenger) => {
            state.meters.coalesced.add(1);
            Ok(passenger)
        }
        Seat::Pilot(pilot) => {
            let passenger = pilot.passenger(lost());
            // A task of its own: whoever is dropped, the load goes on for those who wait.
            let flight = fly(Arc::clone(state), pilot, job, load);
            engine.tasks.spawn(flight);
            Ok(passenger)
        }
    }
}

async fn fly<V, T, E, F, Fut>(state: Shared<V>, pilot: Pilot<Landed<V>, Start>, job: Job, load: F)
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Into<Loaded<V>>,
    E: Into<BoxError>,
{
    // Another flight may have landed between the caller's look into L1 and this one's start.
    if let Some(value) = state.hit(&job.key) {
        return pilot.land(Ok((value, Level::Memory)));
    }
    let token = match look(&state, &job.key).await {
        Look::Found(value) => return pilot.land(Ok((value, Level::Remote))),
        Look::Missing(token) => token,
    };
    // Taken anew: the load sees everything that happened while we looked.
    let start = state.engine.start(&job.key);
    let began = Instant::now();
    let asked = state.engine.clock.now();
    state.meters.loads.add(1);
    let result = holding(&state, &job.key, token, job.run(load)).await;
    state
        .meters
        .load_seconds
        .record(began.elapsed().as_secs_f64());
    match result {
        Ok(loaded) if loaded.cached => {
            let took = state.engine.clock.now().saturating_sub(asked);
            let took = Duration::from_nanos(took);
            let packed = state.pack(&job.key, loaded, start.began, took);
            keep(&state, &job.key, start, packed, token, pilot).await;
        }
        Ok(loaded) => {
            pilot.land(Ok((loaded.value, Level::Loader)));
            release(&state, &job.key, token).await;
        }
        Err(error) => {
            state.meters.load_errors.add(1);
            pilot.land(Err(error));
            release(&state, &job.key, token).await;
        }
    }
}

/// L1, then those who wait, then L2: nobody waits for L2's write.
async fn keep<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    start: Start,
    packed: Packed<V>,
    token: Option<u64>,
    pilot: Pilot<Landed<V>, Start>,
) {
    let Packed {
        value,
        entry,
        keep,
        envelope,
    } = packed;
    if !state.engine.fill(key, entry, start.ticket) {
        state.meters.fills_refused.add(1);
    }
    pilot.land(Ok((value, Level::Loader)));
    match (envelope, token, &state.engine.gate) {
        (Some(Ok(envelope)), Some(token), Some(gate)) => {
            let stored = gate
                .call(|remote| remote.store(key, token, envelope, keep))
                .await;
            state
                .meters
                .stores_refused
                .add(u64::from(stored.is_ok_and(|stored| !stored)));
        }
        (Some(Err(source)), ..) => {
            let error = state.encode_error(source);
            tracing::warn!(%error, "value is kept in memory only");
            release(state, key, token).await;
        }
        // Without a lease nobody knows whether the value is still the newest: L2 does not get it.
        _ => {}
    }
}

/// Runs a load and keeps its lease alive meanwhile.
async fn holding<V: Send + Sync + 'static, T>(
    state: &RegionState<V>,
    key: &str,
    token: Option<u64>,
    load: impl Future<Output = T>,
) -> T {
    let (Some(token), Some(gate)) = (token, &state.engine.gate) else {
        return load.await;
    };
    let hold = state.options.lease;
    tokio::pin!(load);
    loop {
        tokio::select! {
            biased;
            result = &mut load => return result,
            () = tokio::time::sleep(hold / 3) => {}
        }
        // A lost lease is no reason to stop: the callers still want the value, and L2 will refuse it.
        tokio::select! {
            biased;
            result = &mut load => return result,
            _ = gate.call(|remote| remote.renew(key, token, hold)) => {}
        }
    }
}

async fn release<V: Send + Sync + 'static>(state: &RegionState<V>, key: &str, token: Option<u64>) {
    if let (Some(token), Some(gate)) = (token, &state.engine.gate) {
        // If this fails, the lease runs out by itself.
        let _ = gate.call(|remote| remote.release(key, token)).await;
    }
}

async fn look<V: Send + Sync + 'static>(state: &RegionState<V>, key: &Arc<str>) -> Look<V> {
    let Some(gate) = state.readable(key) else {
        return Look::Missing(None);
    };
    match read(state, gate, key).await {
        Ok(Ok(value)) => Look::Found(value),
        Ok(Err(over_value)) => obtain(state, gate, key, over_value).await,
        Err(()) => Look::Missing(None),
    }
}

/// Reads L2 once and fills L1. `Ok(Err(true))`: there is something, but of no use.
async fn read<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &Arc<str>,
) -> Result<Result<Arc<V>, bool>, ()> {
    let start = state.engine.start(key);
    let Some(bytes) = gate.call(|remote| remote.read(key)).await.map_err(|_| ())? else {
        return Ok(Err(false));
    };
    Ok(accept(state, key, &bytes, start).ok_or(true))
}

fn accept<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    bytes: &bytes::Bytes,
    start: Start,
) -> Option<Arc<V>> {
    let (value, entry) = state.open(key, bytes, &start)?;
    if !state.engine.fill(key, entry, start.ticket) {
        state.meters.fills_refused.add(1);
    }
    Some(value)
}

/// Takes the lease, or waits for the value of whoever holds it, at most as long as a lease lasts.
async fn obtain<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &Arc<str>,
    mut over_value: bool,
) -> Look<V> {
    let hold = state.options.lease;
    // Of this load, not of this process: a second load must not be able to store for the first.
    let token = fastrand::u64(1..);
    let deadline = tokio::time::Instant::now() + hold;
    let mut pause = FIRST_PAUSE;
    loop {
        let start = state.engine.start(key);
        match gate
            .call(|remote| remote.lease(key, token, hold, over_value))
            .await
        {
            Ok(Lease::Owned) => return Look::Missing(Some(token)),
            Ok(Lease::Value(bytes)) => match accept(state, key, &bytes, start) {
                Some(value) => return Look::Found(value),
                None => over_value = true,
            },
            Ok(Lease::Busy) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                if over_value {
                    match read(state, gate, key).await {
                        Ok(Ok(value)) => return Look::Found(value),
                        Ok(Err(there)) => over_value = there,
                        Err(()) => return Look::Missing(None),
                    }
                }
            }
            Ok(Lease::Busy) | Err(_) => return Look::Missing(None),
        }
    }
}
