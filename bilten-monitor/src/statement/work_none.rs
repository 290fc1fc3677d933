//! Outside the tests nobody counts.

pub(super) const fn add(_: usize) {}
