//! What people write by hand: moka's future cache in front of fred with JSON.

use std::sync::Arc;

use moka::future::Cache;

use crate::contenders::moka_future::memory;
use crate::contenders::shelf::Shelf;
use crate::peer::{Failure, Levels, Peer, Setup};
use crate::workload::Item;

pub(crate) struct Diy {
    memory: Cache<String, Arc<Item>>,
    shelf: Shelf,
}

impl Peer for Diy {
    const NAME: &'static str = "diy";
    const ABOUT: &'static str = "hand-written: moka::future in front of fred, JSON, about 30 lines";
    const LEVELS: Levels = Levels::Both;
    const COALESCES: bool = true;
    const PATTERNS: bool = true;
    type Value = Arc<Item>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        Ok(Self {
            memory: memory(setup),
            shelf: Shelf::open(&setup.redis_url).await?,
        })
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Arc<Item>, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        let below = async {
            if let Some(item) = self.shelf.get(key).await? {
                return Ok(Arc::new(item));
            }
            let item = Arc::new(load().await);
            self.shelf.set(key, &item).await?;
            Ok::<_, Failure>(item)
        };
        let read = self.memory.try_get_with_by_ref(key, below).await;
        read.map_err(|failure| failure.to_string().into())
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        self.shelf.delete(key).await?;
        self.memory.invalidate(key).await;
        Ok(())
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), Failure> {
        self.shelf.delete_prefix(prefix).await?;
        let prefix = prefix.to_owned();
        self.memory
            .invalidate_entries_if(move |key, _| key.starts_with(&prefix))?;
        Ok(())
    }
}
