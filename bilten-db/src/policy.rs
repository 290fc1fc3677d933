//! What the operator decided about the way of calls.

use std::time::Duration;

use crate::Fallback;
use crate::balance::Balance;
use crate::budget::Budget;
use crate::retry::HedgeConfig;
use crate::routing::Mode;
use crate::tags::Tags;

/// Decided once, when the cluster is built; only the mode changes later.
#[derive(Debug)]
pub(crate) struct Policy {
    /// Functions, in lower case, whose callers belong on the primary.
    pub(crate) denied: Vec<Box<str>>,
    pub(crate) fallback: Fallback,
    pub(crate) balance: Balance,
    pub(crate) mode: Mode,
    pub(crate) retries: Budget,
    pub(crate) hedge: Option<Hedge>,
    /// Added to each statement as a comment.
    pub(crate) tags: Tags,
    /// Longest time for a call, all tries together.
    pub(crate) deadline: Option<Duration>,
}

/// When and how often a read is sent to a second replica.
#[derive(Debug)]
pub(crate) struct Hedge {
    pub(crate) after: Duration,
    pub(crate) budget: Budget,
}

impl From<HedgeConfig> for Hedge {
    fn from(config: HedgeConfig) -> Self {
        Self {
            after: config.after,
            budget: Budget::new(config.percent, config.reserve),
        }
    }
}
