//! The careful version of what people write by hand: moka in front of fred, with a reconnect policy, a time limit on
//! every command, and errors of Redis taken for misses. Without the first two the client waits for ever.

use std::error::Error;
use std::sync::Arc;

use bilten_benches::Item;
use fred::prelude::*;
use moka::sync::Cache;

use crate::reader::{Reader, load};
use crate::{BUDGET, MEMORY};

pub(crate) struct ByHand {
    memory: Cache<String, Arc<Item>>,
    redis: Client,
}

impl ByHand {
    pub(crate) async fn connect(url: &str) -> Result<Self, Box<dyn Error>> {
        let redis = Builder::from_config(Config::from_url(url)?)
            .with_performance_config(|config| config.default_command_timeout = BUDGET)
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1_000, 2))
            .build()?;
        redis.init().await?;
        Ok(Self {
            memory: Cache::builder()
                .max_capacity(100_000)
                .time_to_live(MEMORY)
                .build(),
            redis,
        })
    }

    async fn recall(&self, key: &str) -> Option<Item> {
        let json: Option<Vec<u8>> = self.redis.get(key).await.ok()?;
        serde_json::from_slice(&json?).ok()
    }
}

impl Reader for ByHand {
    async fn get(&self, key: &str) -> bool {
        if self.memory.get(key).is_some() {
            return true;
        }
        let item = if let Some(item) = self.recall(key).await {
            item
        } else {
            let item = load().await;
            if let Ok(json) = serde_json::to_vec(&item) {
                let _: Result<(), _> = self
                    .redis
                    .set(key, json, Some(Expiration::EX(3_600)), None, false)
                    .await;
            }
            item
        };
        self.memory.insert(key.to_owned(), Arc::new(item));
        true
    }
}
