/// How busy a runtime is, as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "dashboard", derive(serde::Serialize))]
pub(crate) struct Busy {
    pub(crate) workers: usize,
    pub(crate) tasks: usize,
    /// Tasks in the queue that all workers share.
    pub(crate) queue: usize,
    /// The share of the last period that all workers were busy, from 0 to 1.
    pub(crate) busy: f64,
    /// The same share of the busiest one.
    pub(crate) busiest: f64,
    /// Milliseconds that a new task waits for its turn.
    pub(crate) wait: f64,
}
