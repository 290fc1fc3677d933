//! Counts what is read and looked at, for the tests: time says little on a busy machine.

use std::cell::Cell;

thread_local! {
    static DONE: Cell<usize> = const { Cell::new(0) };
}

pub(super) fn add(steps: usize) {
    DONE.set(DONE.get() + steps);
}

/// The steps that `f` takes on this thread.
pub(super) fn of(f: impl FnOnce()) -> usize {
    let before = DONE.get();
    f();
    DONE.get() - before
}
