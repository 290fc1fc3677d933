//! Why a statement runs on a node, and which try it is.

use crate::metrics::Reason;

/// One try of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) reason: Reason,
    /// From 1.
    pub(crate) number: u8,
    /// Another node may serve it if this one has no connection soon.
    pub(crate) another: bool,
}

impl Attempt {
    /// The next try, for this reason.
    #[must_use]
    pub(crate) fn again(self, reason: Reason) -> Self {
        Self {
            reason,
            number: self.number.saturating_add(1),
            another: false,
        }
    }
}

impl From<Reason> for Attempt {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            number: 1,
            another: false,
        }
    }
}
