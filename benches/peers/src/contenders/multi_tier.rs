//! multi-tier-cache with moka, Redis and its pub/sub invalidation.

use std::sync::Arc;

use multi_tier_cache::{
    CacheManager, CacheStrategy, InvalidationConfig, L1Cache, L2Cache, MokaCacheConfig,
};

use crate::peer::{Failure, Levels, Peer, Setup, TIME_TO_LIVE};
use crate::workload::Item;

pub(crate) struct MultiTier(CacheManager);

impl Peer for MultiTier {
    const NAME: &'static str = "multi-tier-cache";
    const ABOUT: &'static str = "get_or_compute_typed, L1 moka, L2 redis-rs, pub/sub invalidation";
    const LEVELS: Levels = Levels::Both;
    const COALESCES: bool = true;
    const PATTERNS: bool = true;
    type Value = Item;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let memory = L1Cache::new(MokaCacheConfig {
            max_capacity: setup.capacity as u64,
            time_to_live: TIME_TO_LIVE,
            time_to_idle: TIME_TO_LIVE,
        })?;
        let redis = L2Cache::with_url(&setup.redis_url).await?;
        let invalidation = InvalidationConfig::default();
        let manager = CacheManager::new_with_invalidation(
            Arc::new(memory),
            Arc::new(redis),
            &setup.redis_url,
            invalidation,
        );
        Ok(Self(manager.await?))
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Item, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        let strategy = CacheStrategy::Custom(TIME_TO_LIVE);
        let read = self
            .0
            .get_or_compute_typed(key, strategy, || async { Ok(load().await) });
        Ok(read.await?)
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        Ok(self.0.invalidate(key).await?)
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), Failure> {
        Ok(self.0.invalidate_pattern(&format!("{prefix}*")).await?)
    }
}
