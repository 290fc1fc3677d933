//! The first steps, as people write them by hand.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use fred::prelude::*;
use moka::sync::Cache;

use crate::drive::Instance;
use crate::source::Source;

/// Every read is a call.
pub(crate) struct Nothing(Arc<Source>);

impl Nothing {
    pub(crate) fn new(source: &Arc<Source>) -> Result<Self, Box<dyn Error>> {
        Ok(Self(Arc::clone(source)))
    }
}

impl Instance for Nothing {
    async fn get(&self, key: usize) -> io::Result<u64> {
        self.0.read(key).await
    }

    async fn changed(&self, _: usize) {}
}

/// moka with a time to live.
pub(crate) struct Local {
    source: Arc<Source>,
    memory: Cache<usize, u64>,
}

impl Local {
    pub(crate) fn new(
        source: &Arc<Source>,
        time_to_live: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            source: Arc::clone(source),
            memory: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(time_to_live)
                .build(),
        })
    }
}

impl Instance for Local {
    async fn get(&self, key: usize) -> io::Result<u64> {
        if let Some(version) = self.memory.get(&key) {
            return Ok(version);
        }
        let version = self.source.read(key).await?;
        self.memory.insert(key, version);
        Ok(version)
    }

    async fn changed(&self, _: usize) {}
}

/// moka in front of Redis.
pub(crate) struct Shared {
    local: Local,
    redis: Client,
    time_to_live: Duration,
}

impl Shared {
    pub(crate) async fn connect(
        source: &Arc<Source>,
        url: &str,
        time_to_live: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let redis = Builder::from_config(Config::from_url(url)?)
            .with_performance_config(|config| {
                config.default_command_timeout = Duration::from_millis(250)
            })
            .build()?;
        redis.init().await?;
        Ok(Self {
            local: Local::new(source, time_to_live)?,
            redis,
            time_to_live,
        })
    }
}

impl Instance for Shared {
    async fn get(&self, key: usize) -> io::Result<u64> {
        if let Some(version) = self.local.memory.get(&key) {
            return Ok(version);
        }
        let name = format!("by-hand:{key}");
        let there: Option<u64> = self.redis.get(&name).await.unwrap_or_default();
        let version = match there {
            Some(version) => version,
            None => {
                let version = self.local.source.read(key).await?;
                let life = i64::try_from(self.time_to_live.as_millis()).unwrap_or(i64::MAX);
                let _: Result<(), _> = self
                    .redis
                    .set(&name, version, Some(Expiration::PX(life)), None, false)
                    .await;
                version
            }
        };
        self.local.memory.insert(key, version);
        Ok(version)
    }

    async fn changed(&self, _: usize) {}
}
