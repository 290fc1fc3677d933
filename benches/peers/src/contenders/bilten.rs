//! Ours.

use std::convert::Infallible;
use std::sync::Arc;

use bilten_cache::{Ack, Cache, Pattern, Redis, Region};

use crate::peer::{Failure, Levels, Peer, Setup, TIME_TO_LIVE};
use crate::workload::Item;

/// With a key of 18 bytes and the overhead that the cache adds, a kilobyte.
const EVEN: usize = 1_024 - size_of::<Item>() - 448 - 18;

pub(crate) struct Bilten {
    cache: Cache,
    items: Region<str, Item>,
}

impl Peer for Bilten {
    const NAME: &'static str = "bilten-cache";
    const ABOUT: &'static str = "Region::get_or_load, JSON, Redis through fred, every default kept";
    const LEVELS: Levels = Levels::Both;
    const COALESCES: bool = true;
    const ALONE: bool = true;
    const MANY: bool = true;
    const PATTERNS: bool = true;
    type Value = Arc<Item>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        // Other peers are told a number of entries; an entry of ours is about a kilobyte.
        let cache = Cache::builder("peers").memory_bytes(setup.capacity as u64 * 1_024);
        let items = |cache: &Cache| cache.region("item").time_to_live(TIME_TO_LIVE);
        if setup.alone {
            let cache = cache.build().await?;
            // Every entry a kilobyte, so that the others' number of entries is ours.
            let items = items(&cache).weigher(|_| EVEN).build()?;
            return Ok(Self { cache, items });
        }
        let cache = cache.redis(Redis::url(&setup.redis_url)).build().await?;
        let items = items(&cache).build()?;
        Ok(Self { cache, items })
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Arc<Item>, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        let load = async |_| Ok::<_, Infallible>(load().await);
        Ok(self.items.get_or_load(key, load).await?)
    }

    async fn read_many(&self, keys: &[String]) -> Result<usize, Failure> {
        let found = self.items.get_many(keys).await;
        Ok(found.iter().flatten().count())
    }

    fn held(&self) -> u64 {
        self.cache.status().memory_entries
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        acknowledged(self.items.remove(key).await?)
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), Failure> {
        let pattern = Pattern::prefix(&format!("item:{prefix}"));
        acknowledged(self.cache.invalidate_pattern(&pattern).await)
    }
}

/// Redis is there in every scenario, so an invalidation that only this process knows is a failure.
fn acknowledged(ack: Ack) -> Result<(), Failure> {
    match ack {
        Ack::Everywhere => Ok(()),
        other => Err(format!("the invalidation did not reach Redis: {other:?}").into()),
    }
}
