//! What a caller gets that has no fresh value in L1: a stale one at once, or a place on the key's flight.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use crate::engine::Start;
use crate::error::{BoxError, Error};
use crate::flight;
use crate::job::{How, Job};
use crate::loader::{LoadContext, Loaded};
use crate::lookup;
use crate::manner::{Manner, Use};
use crate::region_state::{Landed, Level, RegionState};
use crate::single_flight::{Passenger, Seat};
use crate::staleness::Course;

/// How often somebody whose patience is over looks whether there is a stale value by now.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

type Shared<V> = Arc<RegionState<V>>;

/// A place on a flight; with the caller's own loader, if it is somebody else's flight, which may bring nothing home.
pub(crate) type Place<V, F> = (Passenger<Landed<V>>, Option<Box<F>>);

/// Where a caller stands.
pub(crate) enum Boarded<V, F> {
    Served(Arc<V>),
    Waits(Passenger<Landed<V>>, Option<Box<F>>),
}

/// Reads from L2 only, for a key that L1 does not have.
pub(crate) async fn get<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    manner: Manner,
) -> Option<Arc<V>> {
    let gate = state
        .readable(key)
        .filter(|_| manner.uses(Use::RemoteRead))?;
    let (value, _) = lookup::fresh(state, gate, key, manner).await?;
    Some(value)
}

/// The way of a read whose key is not fresh in L1. Not `async`, so that no caller's future has to hold a loader.
pub(crate) fn board<V, T, E, F, Fut>(
    state: &Shared<V>,
    key: &Arc<str>,
    load: F,
    how: How,
) -> Result<Boarded<V, F>, Error>
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let course = match how.manner.uses(Use::MemoryRead) {
        true => state.course(key),
        false => None,
    };
    match course {
        Some((value, Course::Serve)) => Ok(Boarded::Served(value)),
        Some((value, Course::ServeAndRefresh)) => {
            // Whatever comes of it, the caller has its value.
            let _ = take_off(state, key, None, load, how);
            Ok(Boarded::Served(value))
        }
        Some((_, Course::Load)) | None => {
            let (passenger, load) = take_off(state, key, None, load, how)?;
            Ok(Boarded::Waits(passenger, load))
        }
    }
}

/// Loads anew for later readers. `than`: when the value was made that the caller has.
pub(crate) fn refresh<V, T, E, F, Fut>(state: &Shared<V>, key: &Arc<str>, than: u64, load: F)
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let _ = take_off(state, key, Some(than), load, How::default());
}

/// Boards the flight of the key, or starts one.
pub(crate) fn take_off<V, T, E, F, Fut>(
    state: &Shared<V>,
    key: &Arc<str>,
    than: Option<u64>,
    load: F,
    how: How,
) -> Result<Place<V, F>, Error>
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let engine = &state.engine;
    let limit = state.options.load_timeout + state.options.late_results;
    let mut job = Job::new(engine.node, &state.name, key, limit)?;
    let manner = how.manner;
    job.how = how;
    if manner.is_anew() {
        // What began before is not to replace it.
        engine.tickets.bump(key, None);
    }
    let may_join = |start: &Start| manner.may_join() && engine.is_current(key, start);
    // What is kept in fewer places is of use to nobody else.
    let flights = match manner.is_private() {
        true => Arc::default(),
        false => Arc::clone(&state.flights),
    };
    match flights.board(key, may_join, || engine.start(key), state.lost()) {
        Seat::Passenger(passenger) => {
            state.meters.coalesced.add(1);
            Ok((passenger, Some(Box::new(load))))
        }
        Seat::Pilot(pilot) => {
            let passenger = pilot.passenger(state.lost());
            // A task of its own: whoever is dropped, the load goes on for those who wait.
            let flight = flight::fly(Arc::clone(state), pilot, job, than, load);
            // What the loader does belongs to whoever asked for it.
            let span = tracing::info_span!("load", cache = %engine.name, region = %state.name);
            engine.tasks.spawn(flight.instrument(span));
            Ok((passenger, None))
        }
    }
}

/// Waits for the flight, as long as the region lets its callers wait. Boxed, so that the usual caller's future stays
/// small.
pub(crate) fn arrive_in_time<'a, V: Send + Sync + 'static>(
    state: &'a RegionState<V>,
    key: &'a Arc<str>,
    passenger: Passenger<Landed<V>>,
) -> Pin<Box<dyn Future<Output = Landed<V>> + Send + 'a>> {
    Box::pin(wait(state, key, passenger))
}

async fn wait<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    passenger: Passenger<Landed<V>>,
) -> Landed<V> {
    let limit = state.options.load_timeout;
    let deadline = tokio::time::sleep(limit);
    let mut deadline = pin!(deadline);
    let mut arrival = pin!(passenger.arrive());
    let mut patience = state.options.soft_timeout;
    loop {
        tokio::select! {
            biased;
            landed = &mut arrival => return landed,
            () = &mut deadline => {
                let late = || Error::LoadTimeout {
                    region: Arc::clone(&state.name),
                    after: limit,
                };
                return state.stand_in(key).map(|value| (value, Level::Stale)).ok_or_else(late);
            }
            () = tokio::time::sleep(patience.unwrap_or(limit)) => {
                if let Some(value) = state.stand_in(key) {
                    return Ok((value, Level::Stale));
                }
                // The flight may find one in the second level yet.
                patience = Some(LOOK_AGAIN);
            }
        }
    }
}
