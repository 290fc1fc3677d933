//! What a caller gets that has no fresh value in L1: a stale one at once, or a place on the key's flight.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use crate::engine::Start;
use crate::error::{BoxError, Error};
use crate::flight::{self, Seen};
use crate::job::{self, How, Job};
use crate::loader::{Load, LoadContext, Loaded, erased};
use crate::lookup;
use crate::manner::{Manner, Use};
use crate::region_state::{Landed, Level, RegionState};
use crate::remote::Gate;
use crate::single_flight::{Passenger, Pilot, Seat};
use crate::staleness::Course;

/// How often somebody whose patience is over looks whether there is a stale value by now.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

type Shared<V> = Arc<RegionState<V>>;

/// A place on a flight; with the caller's own loader, if it is somebody else's flight, which may bring nothing home.
pub(crate) type Place<V, F> = (Passenger<Landed<V>>, Option<F>);

/// Where a caller stands.
pub(crate) enum Boarded<V, F> {
    Served(Arc<V>),
    Waits(Passenger<Landed<V>>, Option<F>),
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
pub(crate) fn refresh<V, T, E, F, Fut>(
    state: &Shared<V>,
    key: &Arc<str>,
    than: u64,
    load: F,
    how: How,
) where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let _ = take_off(state, key, Some(than), load, how);
}

/// Boards the flight of the key, or starts one in a task.
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
    match seat(state, key, &how, false)? {
        Seat::Passenger(passenger) => Ok((passenger, Some(load))),
        Seat::Pilot(pilot) => {
            let job = job(state, key, how)?;
            let passenger = launch(state, pilot, job, than, None, erased(load));
            Ok((passenger, None))
        }
    }
}

/// A seat on the flight of the key. `in_hand`: the pilot's is to [`lead`].
pub(crate) fn seat<V: Send + Sync + 'static>(
    state: &Shared<V>,
    key: &Arc<str>,
    how: &How,
    in_hand: bool,
) -> Result<Seat<Landed<V>, Start>, Error> {
    let (engine, manner) = (&state.engine, how.manner);
    let around = job::around(engine.node, &state.name, std::slice::from_ref(key))?;
    if manner.is_anew() {
        // What began before is not to replace it.
        engine.tickets.bump(key, None);
    }
    let may_join = |start: &Start| manner.may_join() && engine.is_current(key, start);
    // What is kept in fewer places is of use to nobody else.
    let private = manner.is_private().then(Arc::default);
    let flights = private.as_ref().unwrap_or(&state.flights);
    let start = || engine.start(key);
    let seat = flights.board(key, may_join, start, state.lost(), in_hand);
    if let (Some(_), Seat::Passenger(passenger)) = (around, &seat) {
        // The load around this one may have the place that the flight would wait for.
        passenger.hurry();
    }
    Ok(seat)
}

/// The load of a key that the current task asks for.
fn job<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    how: How,
) -> Result<Box<Job>, Error> {
    let limit = state.options.load_timeout + state.options.late_results;
    let mut job = Job::new(state.engine.node, &state.name, key, limit)?;
    job.how = how;
    Ok(Box::new(job))
}

/// Flies in a task of its own: whoever is dropped, the load goes on for those who wait.
fn launch<V: Send + Sync + 'static>(
    state: &Shared<V>,
    pilot: Pilot<Landed<V>, Start>,
    job: Box<Job>,
    than: Option<u64>,
    seen: Option<Seen<V>>,
    load: Load<V>,
) -> Passenger<Landed<V>> {
    let passenger = pilot.passenger(state.lost());
    pilot.hand_over();
    let flight = flight::fly(Arc::clone(state), pilot, job, than, seen, load);
    state
        .engine
        .tasks
        .spawn(flight.instrument(span(state, None)));
    passenger
}

/// What the loader does belongs to whoever asked for it: the current span, or that of the `caller`.
pub(crate) fn span<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    caller: Option<&Span>,
) -> Span {
    let (cache, region) = (&state.engine.name, &state.name);
    match caller {
        None => tracing::info_span!("load", %cache, %region),
        Some(caller) => tracing::info_span!(parent: caller, "load", %cache, %region),
    }
}

/// Whether a caller flies as far as the second level in its own task: a hit there then costs no other. Not where a caller may leave
/// early, and not where a lease is asked for first: those belong to a task.
pub(crate) fn leads<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &str,
    manner: Manner,
) -> bool {
    let has_stale = || {
        let course = state.course(key).filter(|_| manner.uses(Use::MemoryRead));
        course.is_some_and(|(_, course)| course != Course::Load)
    };
    manner.uses(Use::RemoteRead)
        && state.options.has_patient_callers()
        && state.outlook.is_good()
        && state.readable(key).is_some()
        && !has_stale()
}

/// Flies as far as the second level, and has a task do the rest if that has nothing. Dropped before, a task does it all.
pub(crate) async fn lead<V, T, E, F, Fut>(
    state: &Shared<V>,
    key: &Arc<str>,
    pilot: Pilot<Landed<V>, Start>,
    manner: Manner,
    load: F,
) -> Landed<V>
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    let how = How {
        manner,
        ..How::default()
    };
    let mut hand = Hand {
        state,
        key,
        manner,
        holds: Some((pilot, load)),
        leave: |state, key, how, pilot, load| {
            if let Ok(job) = job(state, key, how) {
                launch(state, pilot, job, None, None, erased(load));
            }
        },
    };
    let seen = flight::look(state, key, None, &how).await;
    let Some((pilot, load)) = hand.holds.take() else {
        return state.lost();
    };
    let seen = match seen {
        Ok(seen) => seen,
        Err(found) => {
            let landed = Ok(found);
            pilot.land(landed.clone());
            return landed;
        }
    };
    let job = job(state, key, how)?;
    let passenger = launch(state, pilot, job, None, Some(seen), erased(load));
    passenger.arrive().await
}

/// A flight in the hand of a caller, with what it takes to go on. A caller that leaves leaves it to a task: when the second level is
/// slower than callers are patient, a load would otherwise begin anew with each of them and never get anywhere, and nobody would see
/// how slow it is.
struct Hand<'a, V: Send + Sync + 'static, F> {
    state: &'a Shared<V>,
    key: &'a Arc<str>,
    manner: Manner,
    holds: Option<(Pilot<Landed<V>, Start>, F)>,
    leave: Leave<V, F>,
}

type Leave<V, F> = fn(&Shared<V>, &Arc<str>, How, Pilot<Landed<V>, Start>, F);

impl<V: Send + Sync + 'static, F> Drop for Hand<'_, V, F> {
    fn drop(&mut self) {
        let Some((pilot, load)) = self.holds.take() else {
            return;
        };
        // Where there is no runtime it turns back, and where it was given up somebody else flies.
        if pilot.is_awaited() && Handle::try_current().is_ok() {
            let how = How {
                manner: self.manner,
                ..How::default()
            };
            (self.leave)(self.state, self.key, how, pilot, load);
        }
    }
}

/// Waits for the flight, as long as the region lets its callers wait. `None`: it does not get on, see [`Passenger::arrive_unless`].
pub(crate) async fn arrive<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    passenger: Passenger<Landed<V>>,
) -> Option<Landed<V>> {
    if state.options.has_patient_callers() {
        let gate = state.engine.gate.as_ref();
        // As long as a caller takes who is not held up by something else.
        let budget = gate.map_or(Duration::ZERO, Gate::budget);
        return passenger
            .arrive_unless(tokio::time::sleep(2 * budget))
            .await;
    }
    // Boxed, so that the usual caller's future stays small.
    Some(Box::pin(wait(state, key, passenger)).await)
}

/// Where callers do not wait for ever, no flight is in one's hand.
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
