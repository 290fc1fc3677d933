//! quick_cache: the quickest L1 known. It has no expiry.

use std::convert::Infallible;
use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::peer::{Failure, Levels, Peer, Setup};
use crate::workload::Item;

pub(crate) struct QuickCache(Cache<String, Arc<Item>>);

impl Peer for QuickCache {
    const NAME: &'static str = "quick_cache";
    const ABOUT: &'static str = "quick_cache::sync, get_or_insert_async; no time to live";
    const LEVELS: Levels = Levels::Memory;
    const COALESCES: bool = true;
    const PATTERNS: bool = true;
    type Value = Arc<Item>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        Ok(Self(Cache::new(setup.capacity)))
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Arc<Item>, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        let load = async { Ok::<_, Infallible>(Arc::new(load().await)) };
        Ok(self.0.get_or_insert_async(key, load).await?)
    }

    fn held(&self) -> u64 {
        self.0.len() as u64
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        self.0.remove(key);
        Ok(())
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), Failure> {
        self.0.retain(|key, _| !key.starts_with(prefix));
        Ok(())
    }
}
