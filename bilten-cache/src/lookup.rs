//! Reading the second level, and taking the lease of a key that it has nothing of use for.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::engine::Start;
use crate::entry::Entry;
use crate::envelope::beginning;
use crate::events::Refusal;
use crate::in_vain::Heard;
use crate::job::How;
use crate::kept::Kept;
use crate::manner::{Manner, Use};
use crate::region_state::RegionState;
use crate::remote::{Demand, Gate, Lease, RemoteError};
use crate::spans::Ask;
use crate::waiting::Waiting;

/// What L2 had to say.
pub(crate) enum Look<V> {
    Found(Arc<V>),
    /// Its time is over; the region has a use for it all the same. No lease was asked for. With how it begins in L2.
    Stale(Arc<V>, Kept, Bytes),
    /// Nothing of use; with the token of our lease, if we got one.
    Missing(Option<u64>),
    /// The same, and nobody has said whether the lease of this token is ours: nothing may be stored under it.
    Unsure(u64),
    /// Nothing of use, with our lease, and what the load must reflect.
    MissingAfter(u64, Vec<Demand>),
    /// Another load has the lease, and nobody has waited for it.
    Busy,
}

/// Which values count.
#[derive(Clone, Copy)]
pub(crate) struct Want<'a> {
    than: Option<u64>,
    how: &'a How,
    patience: Patience,
    over: Option<&'a Bytes>,
}

/// For a lease that another load has.
#[derive(Clone, Copy)]
enum Patience {
    None,
    AsLongAsALoad,
    Until(Instant),
}

impl<'a> Want<'a> {
    /// Fresh ones, made later than `than` by the store's clock.
    pub(crate) fn newer(than: Option<u64>, how: &'a How) -> Self {
        Self {
            than,
            how,
            patience: Patience::AsLongAsALoad,
            over: how.asked.as_ref().and_then(|asked| asked.over.as_ref()),
        }
    }

    /// Another one than what begins so: that was found to be of no use.
    pub(crate) fn but(self, over: Option<&'a Bytes>) -> Self {
        Self {
            over: over.or(self.over),
            ..self
        }
    }

    /// Over which value a lease is to be taken.
    fn over(self) -> Option<Bytes> {
        match self.reads() {
            true => self.over.cloned(),
            // Over any.
            false => Some(Bytes::new()),
        }
    }

    /// Without a wait for another load.
    pub(crate) fn at_once(self) -> Self {
        Self {
            patience: Patience::None,
            ..self
        }
    }

    /// With a wait for another load, until then at most.
    pub(crate) fn until(self, deadline: Instant) -> Self {
        Self {
            patience: Patience::Until(deadline),
            ..self
        }
    }

    fn reads(self) -> bool {
        self.how.manner.uses(Use::RemoteRead)
    }

    fn fills(self) -> bool {
        self.how.manner.uses(Use::MemoryWrite)
    }

    /// Whether the value is to be stored, for which there must be a lease.
    fn stores<V: Send + Sync + 'static>(self, state: &RegionState<V>) -> bool {
        self.how.manner.uses(Use::RemoteWrite) && !state.is_read_only()
    }

    fn takes(self, entry: &Entry) -> bool {
        self.than.is_none_or(|than| entry.created_millis > than)
    }
}

/// What one read found, if it could be made.
pub(crate) type Answer<V> = Result<Found<V>, ()>;

pub(crate) enum Found<V> {
    /// With when it was made.
    Fresh(Arc<V>, u64),
    /// With how it begins, as the next one has it.
    Stale(Arc<V>, Kept, Bytes),
    Useless(Bytes),
    Nothing,
}

impl<V> Found<V> {
    /// How the value begins that was of no use.
    pub(crate) fn over(&self) -> Option<&Bytes> {
        match self {
            Self::Stale(.., over) | Self::Useless(over) => Some(over),
            Self::Fresh(..) | Self::Nothing => None,
        }
    }
}

/// Reads a fresh value and fills L1. With when it was made, by the store's clock.
pub(crate) async fn fresh<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &Arc<str>,
    manner: Manner,
) -> Option<(Arc<V>, u64)> {
    let how = How {
        manner,
        ..How::default()
    };
    match read(state, gate, key, Want::newer(None, &how)).await.ok()? {
        Found::Fresh(value, made) => Some((value, made)),
        _ => None,
    }
}

/// Reads L2, unless it is not to be read or a lease is asked for at once.
pub(crate) async fn ask<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    want: Want<'_>,
) -> Option<Answer<V>> {
    let asks_lease = want.stores(state) && (want.how.asked.is_some() || !state.outlook.is_good());
    let gate = state.readable(key)?;
    if !want.reads() || asks_lease {
        return None;
    }
    let found = read(state, gate, key, want).await;
    match &found {
        Ok(Found::Fresh(..)) => state.outlook.hit(),
        // What the caller has is there too.
        Ok(Found::Useless(_)) if want.than.is_some() => {}
        Ok(_) if !state.options.windows.keep() => state.outlook.missed(),
        _ => {}
    }
    Some(found)
}

/// Takes the lease if there was nothing of use, or nothing was asked for yet.
pub(crate) async fn look<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    want: Want<'_>,
    found: Option<Answer<V>>,
) -> Look<V> {
    let Some(gate) = state.readable(key) else {
        return Look::Missing(None);
    };
    let stores = want.stores(state);
    match found {
        None if stores => lease(state, gate, key, want, want.over()).await,
        Some(Ok(Found::Fresh(value, _))) => Look::Found(value),
        Some(Ok(Found::Stale(value, entry, over))) => Look::Stale(value, entry, over),
        Some(Ok(Found::Useless(over))) if stores => lease(state, gate, key, want, Some(over)).await,
        Some(Ok(Found::Nothing)) if stores => lease(state, gate, key, want, None).await,
        Some(_) | None => Look::Missing(None),
    }
}

/// Takes the lease over the stale value that is there and begins so.
pub(crate) async fn obtain<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    want: Want<'_>,
    over: Bytes,
) -> Look<V> {
    match state.readable(key).filter(|_| want.stores(state)) {
        Some(gate) => lease(state, gate, key, want, Some(over)).await,
        None => Look::Missing(None),
    }
}

/// A fresh value, or how the one begins that is of no use.
pub(crate) type Read<V> = Result<Arc<V>, Option<Bytes>>;

/// Reads many keys at once.
pub(crate) async fn fresh_many<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    keys: &[Arc<str>],
) -> Vec<Read<V>> {
    let Some(gate) = &state.engine.gate else {
        return vec![Err(None); keys.len()];
    };
    let starts: Vec<_> = keys.iter().map(|key| state.engine.start(key)).collect();
    // What waits in the recovery queue must not be read there.
    let readable = keys.iter().map(|key| state.readable(key).is_some());
    let readable: Vec<bool> = readable.collect();
    let asked = keys.iter().zip(&readable).filter(|(_, yes)| **yes);
    let asked: Vec<Arc<str>> = asked.map(|(key, _)| Arc::clone(key)).collect();
    if asked.is_empty() {
        return vec![Err(None); keys.len()];
    }
    let plain = How::default();
    let found = gate
        .call(Ask::Read, |remote| remote.read_many(&asked))
        .await;
    let mut found = found.unwrap_or_default().into_iter();
    let take = |((key, start), readable): ((&Arc<str>, Start), bool)| {
        let bytes = readable.then(|| found.next().flatten()).flatten();
        let bytes = bytes.ok_or(None)?;
        match accept(state, key, &bytes, start, Want::newer(None, &plain)) {
            Found::Fresh(value, _) => Ok(value),
            found => Err(found.over().cloned()),
        }
    };
    keys.iter().zip(starts).zip(readable).map(take).collect()
}

async fn read<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &Arc<str>,
    want: Want<'_>,
) -> Result<Found<V>, ()> {
    let start = state.engine.start(key);
    let Some(bytes) = gate.read(key).await.map_err(|_| ())? else {
        return Ok(Found::Nothing);
    };
    Ok(accept(state, key, &bytes, start, want))
}

/// Fills L1 with what is of use.
fn accept<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    bytes: &Bytes,
    start: Start,
    want: Want<'_>,
) -> Found<V> {
    // A change that was deferred while this answer was on its way is known here and not there yet.
    if state.readable(key).is_none() {
        return Found::Useless(beginning(bytes));
    }
    let (value, entry) = match state.open(key, bytes, &start) {
        Ok(opened) => opened,
        Err(why) => {
            state.shut(key, why);
            return Found::Useless(beginning(bytes));
        }
    };
    let is_fresh = entry.is_fresh(state.engine.clock.now());
    if is_fresh && !want.takes(&entry) {
        return Found::Useless(beginning(bytes));
    }
    let (made, entry) = (entry.created_millis, Kept::new(key, entry));
    // A stale one too, so that callers find it who cannot wait; never over a newer one.
    let fill = || state.engine.fill_from_remote(key, &entry, start.ticket);
    if want.fills() && !fill() {
        state.refused(key, Refusal::Changed);
    }
    match is_fresh {
        true => Found::Fresh(value, made),
        false => Found::Stale(value, entry, beginning(bytes)),
    }
}

/// Takes the lease, or waits for the value of whoever holds it: of one holder, because when its load has come to nothing all who wait go on. What is there
/// and begins like `over` was looked at already: only what somebody has stored since is a value.
async fn lease<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    gate: &Gate,
    key: &Arc<str>,
    want: Want<'_>,
    mut over: Option<Bytes>,
) -> Look<V> {
    let hold = state.options.lease;
    // Of this load, not of this process: a second load must not be able to store for the first.
    let token = fastrand::u64(1..);
    let until = match want.patience {
        Patience::Until(deadline) => Some(deadline),
        Patience::None | Patience::AsLongAsALoad => None,
    };
    let mut waiting = Waiting::new(&state.options, want.how, until);
    let mut heard = Heard::default();
    loop {
        let Ok(turn) = want.how.turn_before(waiting.turn_until()).await else {
            return Look::Missing(None);
        };
        let start = state.engine.start(key);
        let (over_what, again) = (over.as_deref(), waiting.has_begun());
        let asked = gate.call(Ask::Lease, |remote| match again {
            false => remote.lease(key, token, hold, over_what),
            true => remote.lease_again(key, token, hold, over_what),
        });
        let answer = asked.await;
        let asks_why = matches!(answer, Ok(Lease::Busy)) && waiting.has_begun();
        let was_in_vain = asks_why && heard.has_news(gate, key).await;
        drop(turn);
        match answer {
            Ok(Lease::Owned) => return Look::Missing(Some(token)),
            Ok(Lease::OwnedAfter(demands)) => return Look::MissingAfter(token, demands),
            Ok(Lease::Value(bytes)) => match accept(state, key, &bytes, start, want) {
                Found::Fresh(value, _) => {
                    state.outlook.hit();
                    return Look::Found(value);
                }
                found => {
                    let seen = found.over().cloned();
                    // Who is shown again what it has seen has a store that does not ask over which value.
                    if seen == over || waiting.is_over() {
                        return Look::Missing(None);
                    }
                    over = seen;
                    tokio::task::yield_now().await;
                }
            },
            // What another load brings began before this call.
            Ok(Lease::Busy) if !want.reads() => return Look::Missing(None),
            Ok(Lease::Busy) if matches!(want.patience, Patience::None) => return Look::Busy,
            Ok(Lease::Busy) if !was_in_vain && !waiting.is_over() => {
                if let Some(asked) = &want.how.asked {
                    (asked.on_wait)();
                }
                waiting.pause().await;
                // What the other one stores could not be taken.
                if state.readable(key).is_none() {
                    return Look::Missing(None);
                }
            }
            // It may get there all the same, and others would wait for the end of it.
            Err(RemoteError::Timeout | RemoteError::Unavailable(_)) => return Look::Unsure(token),
            Ok(Lease::Busy) | Err(_) => return Look::Missing(None),
        }
    }
}
