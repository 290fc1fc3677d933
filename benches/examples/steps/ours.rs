//! The later steps: bilten-cache, with one setting more each time.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bilten_cache::{Cache, Region};

use crate::drive::Instance;
use crate::source::{Plan, Source};

/// What a step adds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras {
    pub(crate) stale: bool,
    pub(crate) soft_timeout: bool,
    pub(crate) refresh: bool,
    pub(crate) tells: bool,
}

pub(crate) struct Bilten {
    source: Arc<Source>,
    rows: Region<u64, u64>,
    tells: bool,
}

impl Bilten {
    pub(crate) async fn build(
        source: &Arc<Source>,
        name: &str,
        url: &str,
        plan: Plan,
        extras: Extras,
    ) -> Result<Self, Box<dyn Error>> {
        let cache = Cache::builder(name).redis(url).build().await?;
        let mut rows = cache
            .region("row")
            .time_to_live(plan.time_to_live)
            .load_timeout(plan.patience);
        if extras.stale {
            rows = rows
                .stale_if_error(Duration::from_secs(60))
                .retry_after(Duration::from_secs(1));
        }
        if extras.soft_timeout {
            rows = rows.soft_timeout(Duration::from_millis(50));
        }
        if extras.refresh {
            rows = rows.refresh_ahead(0.5);
        }
        Ok(Self {
            source: Arc::clone(source),
            rows: rows.build()?,
            tells: extras.tells,
        })
    }
}

impl Instance for Bilten {
    async fn get(&self, key: usize) -> io::Result<u64> {
        let source = Arc::clone(&self.source);
        let load = async move |_| source.read(key).await;
        let row = self.rows.get_or_load(&(key as u64), load).await;
        row.map(|row| *row).map_err(io::Error::other)
    }

    async fn changed(&self, key: usize) {
        if self.tells {
            let _ = self.rows.remove(&(key as u64)).await;
        }
    }
}
