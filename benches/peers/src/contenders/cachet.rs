//! cachet with its memory tier and a Redis tier of our own: it ships none.

use std::sync::Arc;

use cachet::{Cache, CacheEntry, CacheTier, Error, InsertOutcome};
use tick::Clock;

use crate::contenders::shelf::Shelf;
use crate::peer::{Failure, Levels, Peer, Setup, TIME_TO_LIVE};
use crate::workload::Item;

pub(crate) struct Cachet(Cache<String, Arc<Item>>);

impl Peer for Cachet {
    const NAME: &'static str = "cachet";
    const ABOUT: &'static str =
        "get_or_insert with stampede protection, memory tier, own Redis tier of 25 lines over fred";
    const LEVELS: Levels = Levels::Both;
    const COALESCES: bool = true;
    const PATTERNS: bool = false;
    type Value = Arc<Item>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let clock = Clock::new_tokio();
        let redis = RedisTier(Shelf::open(&setup.redis_url).await?);
        let below = Cache::builder::<String, Arc<Item>>(clock.clone()).storage(redis);
        let capacity = setup.capacity as u64;
        let cache = Cache::builder::<String, Arc<Item>>(clock)
            .memory_with(|memory| memory.max_capacity(capacity))
            .ttl(TIME_TO_LIVE)
            .fallback(below)
            .stampede_protection()
            .build();
        Ok(Self(cache))
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Arc<Item>, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        let entry = self
            .0
            .get_or_insert(key, || async { Arc::new(load().await) })
            .await?;
        Ok(entry.into_value())
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        Ok(self.0.invalidate(key).await?)
    }
}

struct RedisTier(Shelf);

impl CacheTier<String, Arc<Item>> for RedisTier {
    async fn get(&self, key: &String) -> Result<Option<CacheEntry<Arc<Item>>>, Error> {
        let found = self.0.get(key).await.map_err(Error::from_source)?;
        Ok(found.map(|item| CacheEntry::new(Arc::new(item))))
    }

    async fn insert(
        &self,
        key: String,
        entry: CacheEntry<Arc<Item>>,
    ) -> Result<InsertOutcome, Error> {
        self.0
            .set(&key, entry.value())
            .await
            .map_err(Error::from_source)?;
        Ok(InsertOutcome::Accepted)
    }

    async fn invalidate(&self, key: &String) -> Result<(), Error> {
        self.0.delete(key).await.map_err(Error::from_source)
    }

    async fn clear(&self) -> Result<(), Error> {
        self.0.delete_prefix("").await.map_err(Error::from_source)
    }
}
