//! One flight of a key, in a task of its own: L1, then L2, then the loader, then both levels.
//!
//! Its longer parts are boxed, so that each allocation is small. What a load leaves behind would otherwise lie in the room of a large
//! one that is gone, which then is too small for the next: the process would grow to several times what it keeps.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::admission::Place;
use crate::clock::Nanos;
use crate::engine::Start;
use crate::envelope::Draft;
use crate::error::{Error, in_full};
use crate::events::{Event, Refusal};
use crate::instead;
use crate::job::{How, Job, Outcome};
use crate::kept::Kept;
use crate::leased::{self, Parcel, holding, release};
use crate::loader::{Load, Loaded, Stale};
use crate::lookup::{self, Answer, Found, Look, Want};
use crate::manner::Use;
use crate::packing::Packed;
use crate::region_state::{Landed, Level, RegionState};
use crate::remote::Demand;
use crate::single_flight::{Hurry, Pilot, Seat};
use crate::staleness::Course;

type Shared<V> = Arc<RegionState<V>>;

/// How much longer a key waits for the call that loads many than that may take.
const GRACE: Duration = Duration::from_secs(1);

/// `than` is set when the caller has a value already, made then, and wants a newer one; `seen` when it has looked for one.
pub(crate) async fn fly<V: Send + Sync + 'static>(
    state: Shared<V>,
    pilot: Pilot<Landed<V>, Start>,
    mut job: Box<Job>,
    than: Option<u64>,
    seen: Option<Seen<V>>,
    load: Load<V>,
) {
    let patience = patience(&state);
    let Some(need) = Box::pin(search(&state, pilot, &job, than, seen, patience)).await else {
        return;
    };
    let deadline = job.deadline();
    let (need, admitted) = match state.admit_now(&job, need.pilot.hurry()) {
        Some(places) => (need, Ok(Admitted { places, deadline })),
        None => match Box::pin(queue(&state, need, &job, than, deadline, patience)).await {
            Some(next) => next,
            None => return,
        },
    };
    let Need {
        pilot,
        token,
        unsure,
        told,
        stale,
        stale_from,
        before,
        ..
    } = need;
    // Taken anew: the load sees everything that happened while we looked.
    let (start, at_least) = state.engine.start_load(&job.key, told);
    job.at_least = at_least;
    let (asked, began) = (state.engine.clock.now(), Instant::now());
    let loaded = match admitted {
        Ok(admitted) => {
            let hurry = pilot.hurry();
            run(&state, &job, token, stale.as_ref(), load, hurry, admitted).await
        }
        Err(full) => Err(full),
    };
    let flown = Flown {
        pilot,
        stale,
        stale_from,
        before,
        start,
        asked,
    };
    let left = land(&state, &job, flown, loaded);
    // Others have waited for the loader, and not for its place.
    let took = job.how.worked(began);
    // Of one call of many keys not all stand in the line at once.
    let _turn = job.how.turn().await;
    match left {
        Left::Value(parcel, kept) => {
            Box::pin(leased::store(&state, &job.key, parcel, token, kept, took)).await;
        }
        Left::Nothing(long) => {
            Box::pin(leased::give_back(&state, &job.key, token, took >= long)).await;
        }
    }
    // What was asked for on this way is done before this, if it gets there at all.
    release(&state, &job.key, unsure).await;
}

/// Until when a flight waits for another process, if its callers leave at some time.
fn patience<V: Send + Sync + 'static>(state: &RegionState<V>) -> Option<Instant> {
    let options = &state.options;
    let leave = !options.has_patient_callers();
    leave.then(|| Instant::now() + options.longest_wait())
}

/// A flight whose load has ended.
struct Flown<V> {
    pilot: Pilot<Landed<V>, Start>,
    stale: Option<Kept>,
    stale_from: Level,
    /// When the stale value was found.
    before: Start,
    /// When the load began.
    start: Start,
    asked: Nanos,
}

/// What a load leaves for L2.
enum Left {
    Value(Parcel, Option<Kept>),
    /// Others are told so, if they have waited so long for it.
    Nothing(Duration),
}

/// Hands on what the load brought.
fn land<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    job: &Job,
    flown: Flown<V>,
    loaded: Result<Loaded<V>, Error>,
) -> Left {
    let (key, manner) = (&job.key, job.how.manner);
    let Flown { pilot, start, .. } = flown;
    match loaded.map(|loaded| manner.applied_to(loaded)) {
        Ok(loaded) if loaded.cached => {
            let took = state.engine.clock.now().saturating_sub(flown.asked);
            let took = Duration::from_nanos(took);
            match state.pack(key, loaded, start.began, took) {
                Ok(packed) => {
                    let start = manner.uses(Use::MemoryWrite).then_some(start);
                    let (kept, parcel) = serve(state, key, start, packed, pilot);
                    if let Some(parcel) = parcel {
                        return Left::Value(parcel, kept);
                    }
                }
                Err(large) => {
                    pilot.land(Ok((large.value, Level::Loader)));
                    state.served_only();
                }
            }
        }
        Ok(loaded) => {
            if loaded.over_tagged {
                state.too_many_tags(key);
            }
            pilot.land(Ok((loaded.value, Level::Loader)));
        }
        Err(error) if Outcome::is_absent(&error) => {
            instead::put_off(state, key);
            pilot.land(Err(error));
            return Left::Nothing(leased::LONG_FOR_NOTHING);
        }
        Err(error) => {
            failed(state, key, &error);
            let instead = instead::fall_back(state, key, flown.stale, flown.before, error);
            pilot.land(instead.map(|value| (value, flown.stale_from)));
        }
    }
    Left::Nothing(leased::LONG)
}

/// Loads for one caller, whose key is kept nowhere.
pub(crate) async fn alone<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    job: &Job,
    load: Load<V>,
) -> Result<Loaded<V>, Error> {
    let (hurry, deadline) = (Hurry::default(), job.deadline());
    let places = match state.admit_now(job, &hurry) {
        Some(places) => Ok(places),
        None => state.admit(job, deadline, &hurry).await,
    };
    let loaded = match places {
        Ok(places) => {
            let admitted = Admitted { places, deadline };
            run(state, job, None, None, load, &hurry, admitted).await
        }
        Err(full) => Err(full),
    };
    if let Err(error) = &loaded
        && !Outcome::is_absent(error)
    {
        failed(state, &job.key, error);
    }
    loaded
}

fn failed<V: Send + Sync + 'static>(state: &RegionState<V>, key: &Arc<str>, error: &Error) {
    // One that did not run is counted by itself.
    if !matches!(error, Error::Overloaded { .. }) {
        state.meters.load_errors.add(1);
    }
    state.tell(|| Event::LoadFailed {
        key: Arc::clone(key),
        error: in_full(error).into(),
    });
}

/// What a flight has when it needs a load.
struct Need<V> {
    pilot: Pilot<Landed<V>, Start>,
    /// Of the lease, if there is one.
    token: Option<u64>,
    /// Of a lease that may be ours, and under which nothing is stored.
    unsure: Option<u64>,
    /// What the load must reflect, by the second level.
    told: Vec<Demand>,
    stale: Option<Kept>,
    /// The level that had it.
    stale_from: Level,
    /// How the value begins that L2 had, which was of no use.
    over: Option<Bytes>,
    /// When the stale value was found.
    before: Start,
}

impl<V> Need<V> {
    /// With what a look has brought. `None`: a value, and the flight has landed.
    fn with(mut self, look: Look<V>) -> Option<Self> {
        match look {
            Look::Found(value) => {
                self.pilot.land(Ok((value, Level::Remote)));
                return None;
            }
            Look::Missing(token) => self.token = token,
            Look::Unsure(token) => self.unsure = Some(token),
            Look::MissingAfter(token, told) => (self.token, self.told) = (Some(token), told),
            Look::Stale(..) | Look::Busy => {}
        }
        Some(self)
    }
}

/// What a flight has seen on its way that found nothing fresh.
pub(crate) struct Seen<V> {
    /// The stale value of L1, which may stand in for a load that fails, unless something changes meanwhile.
    stale: Option<Kept>,
    before: Start,
    /// What L2 had, if it was asked.
    found: Option<Answer<V>>,
}

/// L1 and the first question to L2. `Err`: there is a value.
pub(crate) async fn look<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    than: Option<u64>,
    how: &How,
) -> Result<Seen<V>, (Arc<V>, Level)> {
    let from_memory = how.manner.uses(Use::MemoryRead);
    // Another flight may have landed between the caller's look into L1 and this one's start.
    if let Some(value) = state.hit_newer(key, than).filter(|_| from_memory) {
        return Err((value, Level::Memory));
    }
    let before = state.engine.start(key);
    let stale = state.retained(key).filter(|_| from_memory);
    let found = lookup::ask(state, key, Want::newer(than, how)).await;
    match found {
        Some(Ok(Found::Fresh(value, _))) => Err((value, Level::Remote)),
        found => Ok(Seen {
            stale,
            before,
            found,
        }),
    }
}

/// L1 and L2. `None`: the flight has landed.
async fn search<V: Send + Sync + 'static>(
    state: &Shared<V>,
    mut pilot: Pilot<Landed<V>, Start>,
    job: &Job,
    than: Option<u64>,
    seen: Option<Seen<V>>,
    patience: Option<Instant>,
) -> Option<Need<V>> {
    let (key, manner) = (&job.key, job.how.manner);
    let seen = match seen {
        Some(seen) => Ok(seen),
        None => look(state, key, than, &job.how).await,
    };
    let Seen {
        mut stale,
        before,
        found,
    } = match seen {
        Ok(seen) => seen,
        Err(found) => {
            pilot.land(Ok(found));
            return None;
        }
    };
    let want = Want::newer(than, &job.how);
    let want = patience.map_or(want, |until| want.until(until));
    let mut stale_from = Level::Stale;
    let over = found
        .as_ref()
        .and_then(|found| found.as_ref().ok()?.over().cloned());
    let mut look = lookup::look(state, key, want, found).await;
    if let Look::Stale(value, entry, over) = look {
        if stale.is_none() {
            stale_from = Level::StaleRemote;
        }
        if state.course_of(&entry) == Course::ServeAndRefresh && !manner.is_private() {
            pilot.land(Ok((value, stale_from)));
            match state.board_anew(key) {
                Seat::Pilot(next) => pilot = next,
                Seat::Passenger(_) => return None,
            }
        }
        stale = Some(entry);
        look = lookup::obtain(state, key, want, over).await;
    }
    let need = Need {
        pilot,
        token: None,
        unsure: None,
        told: Vec::new(),
        stale,
        stale_from,
        over,
        before,
    };
    need.with(look)
}

type Queued<'a, V> = Option<(Need<V>, Result<Admitted<'a>, Error>)>;

/// Waits for a place among the loads. Meanwhile it holds no lease, because another process may have a place; and while it waits for another
/// process it holds no place. `None`: the flight has landed, with what somebody else has loaded.
///
/// Whoever has waited for another process has the time of a load after that, as without a queue. Where its callers leave, `patience` keeps some for it.
async fn queue<'a, V: Send + Sync + 'static>(
    state: &'a RegionState<V>,
    mut need: Need<V>,
    job: &Job,
    than: Option<u64>,
    mut deadline: Instant,
    patience: Option<Instant>,
) -> Queued<'a, V> {
    let over = need.over.take();
    let (key, want) = (&job.key, Want::newer(than, &job.how).but(over.as_ref()));
    // Once: nobody waits for ever.
    let mut begins_anew = patience.is_none();
    loop {
        let held = need.token.take();
        // If that failed, it may stand all the same, and nobody is to wait for it in vain.
        let in_doubt = !release(state, key, held).await;
        let places = state.admit(job, deadline, need.pilot.hurry()).await;
        let admitted = places.map(|places| Admitted { places, deadline });
        let (Some(held), true) = (held, admitted.is_ok()) else {
            return Some((need, admitted));
        };
        if in_doubt {
            match leased::renew(state, key, held).await {
                Some(false) => {}
                // Without an answer it may stand, and who asked for another one would wait for it.
                stands => {
                    need.token = stands.map(|_| held);
                    return Some((need, admitted));
                }
            }
        }
        match lookup::look(state, key, want.at_once(), None).await {
            Look::Busy => drop(admitted),
            look => return Some((need.with(look)?, admitted)),
        }
        let until = patience.map_or(deadline, |until| until.min(deadline));
        let look = lookup::look(state, key, want.until(until), None).await;
        need = need.with(look)?;
        if std::mem::take(&mut begins_anew) {
            deadline = job.deadline();
        }
        if need.token.is_some()
            && let Some(places) = state.admit_now(job, need.pilot.hurry())
        {
            return Some((need, Ok(Admitted { places, deadline })));
        }
    }
}

/// That a load may run, and until when.
struct Admitted<'a> {
    places: [Place<'a>; 2],
    deadline: Instant,
}

/// Calls the loader.
async fn run<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    job: &Job,
    token: Option<u64>,
    stale: Option<&Kept>,
    load: Load<V>,
    hurry: &Hurry,
    admitted: Admitted<'_>,
) -> Result<Loaded<V>, Error> {
    let seen = stale.and_then(Stale::of);
    let load = Box::pin(async move {
        let Admitted { places, deadline } = admitted;
        let _places = places;
        let began = Instant::now();
        // One of many is counted where they are loaded, if they are.
        if job.how.asked.is_none() {
            state.meters.loads.add(1);
        }
        // One of many ends with the call that loads all of them, which says why.
        let grace = job.how.asked.as_ref().map_or(Duration::ZERO, |_| GRACE);
        let until = job.until(deadline + grace);
        let result = pass_on(job, hurry, until.run(seen, load)).await;
        let took = began.elapsed();
        if !matches!(result, Err(Error::Overloaded { .. })) {
            state.meters.load_seconds.record(took.as_secs_f64());
        }
        if result.is_ok() {
            state.tell(|| Event::Loaded {
                key: Arc::clone(&job.key),
                took,
            });
        }
        result
    });
    holding(state, job, token, load).await
}

/// A load in a batch, which hears of it when one of its keys is in a hurry.
async fn pass_on<T>(job: &Job, hurry: &Hurry, load: impl Future<Output = T>) -> T {
    let Some(asked) = &job.how.asked else {
        return load.await;
    };
    tokio::pin!(load);
    tokio::select! {
        biased;
        result = &mut load => return result,
        () = hurry.needed() => asked.hurry.up(),
    }
    load.await
}

/// L1 if `start` allows it, then those who wait. What is left is for L2, whose write nobody waits for.
fn serve<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    start: Option<Start>,
    packed: Packed<V>,
    pilot: Pilot<Landed<V>, Start>,
) -> (Option<Kept>, Option<Parcel>) {
    let Packed {
        value,
        entry,
        keep,
        envelope,
    } = packed;
    let mut kept = None;
    if let Some(start) = start {
        let entry = Kept::new(key, entry);
        match state.engine.fill_shared(key, &entry, start.ticket) {
            true => kept = Some(entry),
            false => state.refused(key, Refusal::Changed),
        }
    }
    pilot.land(Ok((value, Level::Loader)));
    (kept, envelope.map(|draft| (draft.map(Draft::sealed), keep)))
}
