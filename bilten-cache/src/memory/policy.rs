use std::sync::{Mutex, MutexGuard, PoisonError};

use super::index::Spot;
use crate::kept::Kept;

/// Decides what stays in memory, by weight and popularity.
///
/// It owns the entries; the index only knows where they are. What it gives up it takes out of the index itself, by
/// [`Index::remove_exactly`]. Each [`Kept`] is put into it at most once.
pub(crate) trait Policy: std::fmt::Debug + Send + Sync {
    /// Changes what is kept at a spot. Nobody else changes it from before `change` is called until all is done.
    fn change(&self, spot: Spot, change: impl FnOnce() -> Change);

    /// In the same way, gives up what is kept at a spot if it is a stray.
    fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool);

    /// Whether the entry would fit in if nothing else were there. One that does not is never put in.
    fn has_room_for(&self, kept: &Kept) -> bool;

    /// Says that the key was not taken, because it has no room.
    fn not_taken(&self, key: &[u8]);

    /// Learns that a spot was asked for.
    fn touch(&self, spot: Spot);

    /// Learns that one was asked for where nothing is.
    fn missed(&self, spot: Spot);

    /// Gives everything up, at its leisure.
    fn clear(&self);

    /// How many there are, after everything that was put off.
    fn entries(&self) -> u64;

    fn bytes(&self) -> u64;

    /// What an entry weighs here beside its own weight.
    fn overhead(&self) -> u64 {
        0
    }

    /// Shows everything that is kept, after everything that was put off.
    #[cfg(any(test, feature = "test-util"))]
    fn each(&self, f: impl FnMut(Spot, &Kept));
}

/// What becomes of a spot.
pub(crate) enum Change {
    Nothing,
    Put(Kept),
    Remove,
}

/// A lock for each of some parts of the spots. Held from before the index is changed until the store is: the stores' own ways to change a
/// key under a lock make one for each change.
#[derive(Debug)]
pub(super) struct Locks(Box<[Mutex<()>]>);

/// A power of two.
const LOCKS: usize = 64;

impl Locks {
    pub(super) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::default()).collect())
    }

    pub(super) fn lock(&self, spot: Spot) -> MutexGuard<'_, ()> {
        let number = usize::try_from(spot.0 >> 40 & (LOCKS as u64 - 1)).unwrap_or(0);
        let lock = self.0[number].lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}
