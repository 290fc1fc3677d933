//! moka's future cache with its own loader.

use std::sync::Arc;

use futures_util::FutureExt;
use moka::future::Cache;

use crate::peer::{Failure, Levels, Peer, Setup, TIME_TO_LIVE};
use crate::workload::Item;

pub(crate) struct MokaFuture(Cache<String, Arc<Item>>);

impl Peer for MokaFuture {
    const NAME: &'static str = "moka-future";
    const ABOUT: &'static str = "moka::future, get_with_by_ref";
    const LEVELS: Levels = Levels::Memory;
    const COALESCES: bool = true;
    const PATTERNS: bool = true;
    type Value = Arc<Item>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        Ok(Self(memory(setup)))
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Arc<Item>, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        Ok(self
            .0
            .get_with_by_ref(key, async { Arc::new(load().await) })
            .await)
    }

    fn held(&self) -> u64 {
        // Without a listener there is nothing in it to wait for.
        let _ = self.0.run_pending_tasks().now_or_never();
        self.0.entry_count()
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        self.0.invalidate(key).await;
        Ok(())
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), Failure> {
        let prefix = prefix.to_owned();
        self.0
            .invalidate_entries_if(move |key, _| key.starts_with(&prefix))?;
        Ok(())
    }
}

/// The cache that the hand-written two-level peer puts in front of Redis, too.
pub(crate) fn memory(setup: &Setup) -> Cache<String, Arc<Item>> {
    let builder = Cache::builder()
        .max_capacity(setup.capacity as u64)
        .time_to_live(TIME_TO_LIVE);
    match setup.patterns {
        true => builder.support_invalidation_closures().build(),
        false => builder.build(),
    }
}
