//! The spans that a trace shows beside those of loads. A hit in memory has none.

use std::fmt::Display;

use tracing::Span;

/// Something is invalidated: a key, a tag, a pattern or whatever else has this name.
pub(crate) fn invalidation(cache: &impl Display, kind: &'static str) -> Span {
    tracing::info_span!("invalidate", %cache, kind)
}

/// So many keys are written.
pub(crate) fn write(cache: &impl Display, keys: usize) -> Span {
    tracing::info_span!("write", %cache, keys)
}

/// One call to the second level. There are several to one load, so it is for who wants to look closely.
pub(crate) fn call(cache: &impl Display, call: &'static str) -> Span {
    tracing::debug_span!("remote", %cache, call)
}
