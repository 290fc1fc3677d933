//! Requests that their callers have given up and that arrive all the same.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::store::Store;
use super::trap::Call;

pub(super) type Work = Box<dyn FnOnce(&mut Store) + Send>;

/// A request that is held back, from [`FaultyRemote::hold_back`](super::FaultyRemote::hold_back). Dropped, it is lost.
#[must_use = "dropped at once, it loses the next request"]
pub struct HeldBack {
    slot: Slot,
    arrive: Box<dyn FnOnce(Work) + Send>,
}

impl HeldBack {
    /// Lets the request arrive. Nobody waits for its answer any more. `false`: nobody has made one.
    #[must_use]
    pub fn deliver(self) -> bool {
        let work = self.slot.lock().take();
        work.map(self.arrive).is_some()
    }
}

impl fmt::Debug for HeldBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldBack").finish_non_exhaustive()
    }
}

/// Where a request waits.
#[derive(Clone, Default)]
pub(super) struct Slot {
    work: Arc<Mutex<Option<Work>>>,
}

impl Slot {
    pub(super) fn put<T>(&self, work: impl FnOnce(&mut Store) -> T + Send + 'static) {
        *self.lock() = Some(Box::new(move |store| drop(work(store))));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kinds of request whose next one is held back.
#[derive(Default)]
pub(super) struct Requests {
    wanted: Mutex<Vec<(Call, Slot)>>,
}

impl Requests {
    pub(super) fn hold(&self, call: Call, arrive: impl FnOnce(Work) + Send + 'static) -> HeldBack {
        let slot = Slot::default();
        self.lock().push((call, slot.clone()));
        HeldBack {
            slot,
            arrive: Box::new(arrive),
        }
    }

    pub(super) fn next(&self, call: Call) -> Option<Slot> {
        let mut wanted = self.lock();
        let at = wanted.iter().position(|(kind, _)| *kind == call)?;
        Some(wanted.remove(at).1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Call, Slot)>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").finish_non_exhaustive()
    }
}
