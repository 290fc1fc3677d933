use std::time::Duration;

/// Some keys of a store, from [`Remote::scan`](super::Remote::scan).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Encoded keys that have a value. A key may come twice.
    pub keys: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

impl Page {
    /// A page.
    #[must_use]
    pub fn new(keys: Vec<String>, next: Option<String>) -> Self {
        Self { keys, next }
    }
}

/// How far the pruning of markers has come, from [`Remote::prune`](super::Remote::prune).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pruned {
    /// Where to go on; 0 at the end.
    pub cursor: u64,
    /// The longest life of an entry that any node has told of.
    pub life: Duration,
}

impl Pruned {
    /// A state of pruning.
    #[must_use]
    pub fn new(cursor: u64, life: Duration) -> Self {
        Self { cursor, life }
    }
}
