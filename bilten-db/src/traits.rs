//! What is decided about a node before anything is known of it.

use std::sync::Arc;

/// What the operator said about a node.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    pub(crate) weight: u32,
    /// In the zone of this process, or zones do not matter.
    pub(crate) near: bool,
    /// Only reads that ask for this group may go there.
    pub(crate) group: Option<Arc<str>>,
    /// Reads the primary's own file, so it sees every commit at once.
    pub(crate) same_file: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            weight: 1,
            near: true,
            group: None,
            same_file: false,
        }
    }
}
