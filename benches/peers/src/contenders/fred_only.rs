//! Redis alone through fred, decoded on every read: the floor for an L2 hit.

use crate::contenders::shelf::Shelf;
use crate::peer::{Failure, Levels, Peer, Setup};
use crate::workload::Item;

pub(crate) struct FredOnly(Shelf);

impl Peer for FredOnly {
    const NAME: &'static str = "fred";
    const ABOUT: &'static str = "raw fred: GET, on a miss load and SET; JSON; nothing in memory";
    const LEVELS: Levels = Levels::Redis;
    const COALESCES: bool = false;
    const MANY: bool = true;
    const PATTERNS: bool = true;
    type Value = Item;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        Ok(Self(Shelf::open(&setup.redis_url).await?))
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Item, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        if let Some(item) = self.0.get(key).await? {
            return Ok(item);
        }
        let item = load().await;
        self.0.set(key, &item).await?;
        Ok(item)
    }

    async fn read_many(&self, keys: &[String]) -> Result<usize, Failure> {
        let found = self.0.get_many(keys).await?;
        Ok(found.iter().flatten().count())
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        self.0.delete(key).await
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), Failure> {
        self.0.delete_prefix(prefix).await
    }
}
