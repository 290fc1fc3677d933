//! moka's synchronous cache: the floor for an L1 hit. It has no async loader, so a miss loads
//! and inserts by hand.

use std::sync::Arc;

use moka::sync::Cache;

use crate::peer::{Failure, Levels, Peer, Setup, TIME_TO_LIVE};
use crate::workload::Item;

pub(crate) struct MokaSync(Cache<String, Arc<Item>>);

impl Peer for MokaSync {
    const NAME: &'static str = "moka-sync";
    const ABOUT: &'static str = "moka::sync, get and insert only";
    const LEVELS: Levels = Levels::Memory;
    const COALESCES: bool = false;
    const PATTERNS: bool = false;
    type Value = Arc<Item>;

    async fn start(setup: &Setup) -> Result<Self, Failure> {
        let builder = Cache::builder().max_capacity(setup.capacity as u64);
        Ok(Self(builder.time_to_live(TIME_TO_LIVE).build()))
    }

    async fn read<L, F>(&self, key: &str, load: L) -> Result<Arc<Item>, Failure>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Item> + Send + 'static,
    {
        if let Some(item) = self.0.get(key) {
            return Ok(item);
        }
        let item = Arc::new(load().await);
        self.0.insert(key.to_owned(), Arc::clone(&item));
        Ok(item)
    }

    fn held(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }

    async fn invalidate(&self, key: &str) -> Result<(), Failure> {
        self.0.invalidate(key);
        Ok(())
    }
}
