//! The old value, where a load has brought none.

use std::sync::Arc;

use crate::engine::Start;
use crate::error::{Error, in_full};
use crate::kept::Kept;
use crate::region_state::RegionState;

/// The stale value instead of the error, if the region allows it and nothing changed since it was found.
pub(crate) fn fall_back<V: Send + Sync + 'static>(
    state: &RegionState<V>,
    key: &Arc<str>,
    in_hand: Option<Kept>,
    before: Start,
    error: Error,
) -> Result<Arc<V>, Error> {
    let in_hand = in_hand.filter(|_| state.engine.is_current(key, &before));
    let Some(entry) = state.retained(key).or(in_hand) else {
        return Err(error);
    };
    let instead = state.if_error(&entry);
    let goes_on = instead.is_some() || state.is_served(&entry);
    // Once for each value: then nobody else hears of it.
    if entry.retry_at(state.retry_at()) && goes_on {
        tracing::warn!(region = %state.name, error = in_full(&error), "load failed, the old value is served");
    }
    instead.ok_or(error)
}

/// While the old value is served all the same, not every reader has to ask for it again.
pub(crate) fn put_off<V: Send + Sync + 'static>(state: &RegionState<V>, key: &Arc<str>) {
    if let Some(entry) = state.retained(key).filter(|entry| state.is_served(entry)) {
        entry.retry_at(state.retry_at());
    }
}
