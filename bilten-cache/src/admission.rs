//! How many loads may run at once.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A bound on loads that run at the same time; without one, any number does.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    places: Option<Places>,
}

#[derive(Debug)]
struct Places {
    free: Semaphore,
    all: usize,
}

/// A place among the loads that run. Dropped, it is free for the next one.
pub(crate) type Place<'a> = Option<SemaphorePermit<'a>>;

/// That there was no place for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) limit: usize,
}

impl Admission {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        let places = limit.map(|all| Places {
            free: Semaphore::new(all.min(Semaphore::MAX_PERMITS)),
            all,
        });
        Self { places }
    }

    /// A place, if there is one at once.
    pub(crate) fn now(&self) -> Option<Place<'_>> {
        match &self.places {
            None => Some(None),
            Some(places) => places.free.try_acquire().ok().map(Some),
        }
    }

    /// A place, as soon as there is one; who has waited longest is next.
    pub(crate) async fn enter(&self, until: Instant) -> Result<Place<'_>, Full> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        let full = Full { limit: places.all };
        match tokio::time::timeout_at(until, places.free.acquire()).await {
            // It is never closed.
            Ok(place) => Ok(place.ok()),
            Err(_) => Err(full),
        }
    }
}
