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

/// What the second level is asked for. One byte: it is in each future that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    Read,
    Lease,
    Store,
    Renew,
    Release,
    Claim,
    BeginWrite,
    EndWrite,
    Invalidate,
    Demand,
    Scan,
    Head,
    Discard,
}

impl Ask {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Lease => "lease",
            Self::Store => "store",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Claim => "claim",
            Self::BeginWrite => "begin_write",
            Self::EndWrite => "end_write",
            Self::Invalidate => "invalidate",
            Self::Demand => "demand",
            Self::Scan => "scan",
            Self::Head => "head",
            Self::Discard => "discard",
        }
    }
}

/// One call to the second level. There are several to one load, so it is for who wants to look closely.
pub(crate) fn call(cache: &impl Display, what: Ask) -> Span {
    tracing::debug_span!("remote", %cache, call = what.name())
}
