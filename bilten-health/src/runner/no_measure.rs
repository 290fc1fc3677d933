//! Without the feature `metrics`: nothing.

use crate::slot::Note;

pub(super) const fn measure(_check: &str, _note: &Note) {}
