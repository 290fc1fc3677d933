//! What every cache under test has to offer.

use std::borrow::Borrow;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use crate::workload::Item;

/// Any failure of a peer, a server or the harness.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The same time to live for every peer that can be given one.
pub(crate) const TIME_TO_LIVE: Duration = Duration::from_secs(300);

/// Where a peer keeps values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Levels {
    Memory,
    Redis,
    Both,
}

impl Levels {
    pub(crate) fn has_memory(self) -> bool {
        self != Self::Redis
    }

    pub(crate) fn has_redis(self) -> bool {
        self != Self::Memory
    }
}

/// What a peer is started with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// A logical database of its own, so that keys can be counted and flushed per peer.
    pub(crate) redis_url: String,
    /// Entries that must fit in memory without any eviction.
    pub(crate) capacity: usize,
    /// Whether this instance will be asked to invalidate by pattern. moka has to be told
    /// beforehand, and every read pays for it.
    pub(crate) patterns: bool,
    /// Memory only: an instance without Redis, of a peer that has [`ALONE`](Peer::ALONE).
    pub(crate) alone: bool,
}

/// One cache, used the way its documentation says.
pub(crate) trait Peer: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// How it was set up, in one line, for the legend.
    const ABOUT: &'static str;
    const LEVELS: Levels;
    /// Concurrent misses of one key can share a load.
    const COALESCES: bool;
    /// It can do without Redis.
    const ALONE: bool = matches!(Self::LEVELS, Levels::Memory);
    /// Many keys can be read from Redis in one call.
    const MANY: bool = false;
    /// Keys can be invalidated by pattern.
    const PATTERNS: bool;

    /// What a read returns: the item, or a shared pointer to it.
    type Value: Borrow<Item> + Send + 'static;

    fn start(setup: &Setup) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Reads through all levels; `load` runs on a miss and its result is stored.
    fn read<L, F>(
        &self,
        key: &str,
        load: L,
    ) -> impl Future<Output = Result<Self::Value, Failure>> + Send
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static;

    /// Reads keys that nobody loads, in one call; how many of them were found.
    fn read_many(&self, keys: &[String]) -> impl Future<Output = Result<usize, Failure>> + Send {
        let refusal = format!("{} cannot read {} keys at once", Self::NAME, keys.len());
        async move { Err(refusal.into()) }
    }

    /// Entries in memory, after everything that was put off.
    fn held(&self) -> u64 {
        0
    }

    /// Removes one key from every level.
    fn invalidate(&self, key: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Removes every key that begins with `prefix` from every level.
    fn invalidate_prefix(&self, prefix: &str) -> impl Future<Output = Result<(), Failure>> + Send {
        let refusal = format!("{} cannot invalidate `{prefix}*`", Self::NAME);
        async move { Err(refusal.into()) }
    }
}
