//! How a cache is.

use crate::check::{CheckBuilder, Verdict, check};
use bilten_cache::Cache;
use bilten_cache::status::{Connection, Status};
use std::future::ready;

/// Looks at what the cache knows of its second level; asks nobody.
///
/// A second level that fails, or whose log has not been heard of for `isolated_ttl`, is degraded and never down: the cache goes on from
/// memory and from loaders. The text says why, a password that is not accepted for example. A cache that is meant to have no second level is up.
///
/// The details have the `connection` (`memory only`, `connected`, `unheard` when it is cut off from the log, `down` when the circuit
/// breaker is open or it was never reached), `log_position`, `log_lag` in records, `log_age_ms` since the log was read to its
/// end, `markers` and `markers_widened`, `waiting_invalidations`, `memory_entries` and `memory_bytes`.
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
    let (connection, verdict) = match status.connection {
        Connection::MemoryOnly => ("memory only", Verdict::up()),
        Connection::Connected => ("connected", Verdict::up()),
        Connection::Unheard => ("unheard", Verdict::degraded(unheard(status))),
        Connection::Down => ("down", Verdict::degraded(fails(status))),
        _ => (
            "unknown",
            Verdict::unknown("the second level is in a state that this version does not know"),
        ),
    };
    verdict
        .detail("connection", connection)
        .detail("log_position", status.log_position)
        .detail("log_lag", status.log_lag)
        .detail("log_age_ms", log_age_ms(status))
        .detail("markers", status.markers)
        .detail("markers_widened", status.markers_widened)
        .detail("waiting_invalidations", status.waiting)
        .detail("memory_entries", status.memory_entries)
        .detail("memory_bytes", status.memory_bytes)
}

fn fails(status: &Status) -> String {
    let why = status.cause.as_deref().map(|why| format!(": {why}"));
    let why = why.unwrap_or_default();
    format!("the second level fails{why}; reads come from memory and from loaders")
}

fn unheard(status: &Status) -> String {
    let since = log_age_ms(status).map_or(String::new(), |age| format!(" for {age:.0} ms"));
    format!("cut off from the invalidation log{since}: what is in memory is not believed any more")
}

fn log_age_ms(status: &Status) -> Option<f64> {
    status.log_age.map(|age| age.as_secs_f64() * 1000.0)
}
