//! How a cache is.

use crate::check::{CheckBuilder, Verdict, check};
use bilten_cache::Cache;
use bilten_cache::status::{Connection, Status};
use std::future::ready;

/// Looks at what the cache knows of its second level; asks nobody.
///
/// A second level that fails, or whose log has not been heard of for some time, is degraded and never down: the cache goes on from
/// memory and from loaders. A cache that is meant to have no second level is up.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = bilten_cache::Cache::builder("shop").build().await?;
/// let health = Health::builder().check(checks::cache("cache", &cache)).build()?;
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn cache(name: impl Into<String>, cache: &Cache) -> CheckBuilder {
    let cache = cache.clone();
    check(name, move || ready(judge(&cache.status())))
}

fn judge(status: &Status) -> Verdict {
    let verdict = match status.connection {
        Connection::MemoryOnly | Connection::Connected => Verdict::up(),
        Connection::Unheard => {
            Verdict::degraded("the invalidation log has not been heard of for some time")
        }
        Connection::Down => {
            Verdict::degraded("the second level fails; reads come from memory and from loaders")
        }
        _ => Verdict::unknown("the second level is in a state that this version does not know"),
    };
    verdict
        .detail("log_position", status.log_position)
        .detail("waiting_invalidations", status.waiting)
        .detail("memory_entries", status.memory_entries)
        .detail("memory_bytes", status.memory_bytes)
}
