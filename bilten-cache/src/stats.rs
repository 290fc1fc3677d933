//! Every metric name, and the counters behind `stats()`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    histogram,
};

/// A counter that can be read back and that the metrics facade sees as well.
///
/// The handle is looked up once: install a recorder before the cache is built.
pub(crate) struct Meter {
    count: AtomicU64,
    exported: Counter,
}

impl Meter {
    fn new(exported: Counter) -> Self {
        Self {
            count: AtomicU64::new(0),
            exported,
        }
    }

    pub(crate) fn add(&self, n: u64) {
        self.count.fetch_add(n, Ordering::Relaxed);
        self.exported.increment(n);
    }

    fn value(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.value())
    }
}

/// What happens in one region.
#[derive(Debug)]
pub(crate) struct RegionMeters {
    pub(crate) hits_memory: Meter,
    pub(crate) hits_remote: Meter,
    pub(crate) misses: Meter,
    pub(crate) stale: Meter,
    pub(crate) coalesced: Meter,
    pub(crate) cancelled: Meter,
    pub(crate) loads: Meter,
    pub(crate) load_errors: Meter,
    pub(crate) undecodable: Meter,
    pub(crate) outrun: Meter,
    pub(crate) unencodable: Meter,
    pub(crate) too_large: Meter,
    pub(crate) tags_refused: Meter,
    pub(crate) fills_refused: Meter,
    pub(crate) stores_refused: Meter,
    pub(crate) stores_left_out: Meter,
    pub(crate) keys_refused: Meter,
    pub(crate) loads_refused: Meter,
    pub(crate) load_seconds: Histogram,
}

impl RegionMeters {
    pub(crate) fn new(cache: &str, region: &str) -> Self {
        let labels = [("cache", cache.to_owned()), ("region", region.to_owned())];
        let hits = |level: &'static str| {
            let [cache, region] = labels.clone();
            Meter::new(counter!(
                "bilten_cache_hits_total",
                &[cache, region, ("level", level.to_owned())]
            ))
        };
        let refused = |reason: &'static str| {
            let [cache, region] = labels.clone();
            Meter::new(counter!(
                "bilten_cache_refused_total",
                &[cache, region, ("reason", reason.to_owned())]
            ))
        };
        Self {
            hits_memory: hits("memory"),
            hits_remote: hits("remote"),
            misses: Meter::new(counter!("bilten_cache_misses_total", &labels)),
            stale: Meter::new(counter!("bilten_cache_stale_total", &labels)),
            coalesced: Meter::new(counter!("bilten_cache_coalesced_total", &labels)),
            cancelled: Meter::new(counter!("bilten_cache_cancelled_total", &labels)),
            loads: Meter::new(counter!("bilten_cache_loads_total", &labels)),
            load_errors: Meter::new(counter!("bilten_cache_load_errors_total", &labels)),
            undecodable: Meter::new(counter!("bilten_cache_undecodable_total", &labels)),
            outrun: Meter::new(counter!("bilten_cache_outrun_total", &labels)),
            unencodable: refused("unencodable"),
            too_large: refused("too_large"),
            tags_refused: refused("tags"),
            fills_refused: refused("ticket"),
            stores_refused: refused("lease"),
            stores_left_out: refused("no_turn"),
            keys_refused: refused("key_too_long"),
            loads_refused: refused("overloaded"),
            load_seconds: histogram!("bilten_cache_load_seconds", &labels),
        }
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            hits_memory: self.hits_memory.value(),
            hits_remote: self.hits_remote.value(),
            misses: self.misses.value(),
            stale: self.stale.value(),
            coalesced: self.coalesced.value(),
            cancelled: self.cancelled.value(),
            loads: self.loads.value(),
            load_errors: self.load_errors.value(),
            undecodable: self.undecodable.value(),
            outrun: self.outrun.value(),
            unencodable: self.unencodable.value(),
            too_large: self.too_large.value(),
            tags_refused: self.tags_refused.value(),
            fills_refused: self.fills_refused.value(),
            stores_refused: self.stores_refused.value(),
            stores_left_out: self.stores_left_out.value(),
            keys_refused: self.keys_refused.value(),
            loads_refused: self.loads_refused.value(),
            ..Stats::default()
        }
    }
}

/// What happens to the cache as a whole.
#[derive(Debug)]
pub(crate) struct CacheMeters {
    pub(crate) remote_failures: Meter,
    pub(crate) breaker_opened: Meter,
    pub(crate) invalidations: Meter,
    pub(crate) deferred: Meter,
    pub(crate) flushes: Meter,
    pub(crate) evictions: Meter,
    pub(crate) log_records: Meter,
    pub(crate) log_gaps: Meter,
    pub(crate) log_unreadable: Meter,
}

/// Counters and what they count, for the help texts of an exporter.
const COUNTERS: [(&str, &str); 19] = [
    (
        "bilten_cache_hits_total",
        "Reads answered by a level of the cache: memory or remote.",
    ),
    (
        "bilten_cache_misses_total",
        "Reads answered by no level of the cache.",
    ),
    (
        "bilten_cache_stale_total",
        "Reads answered with a value whose time was over.",
    ),
    (
        "bilten_cache_coalesced_total",
        "Reads that waited for a load somebody else had begun.",
    ),
    (
        "bilten_cache_cancelled_total",
        "Reads that were given up before they had an answer.",
    ),
    ("bilten_cache_loads_total", "Loaders called."),
    (
        "bilten_cache_load_errors_total",
        "Loaders that failed, panicked or took too long.",
    ),
    (
        "bilten_cache_undecodable_total",
        "Entries of the second level that could not be read; each was a miss.",
    ),
    (
        "bilten_cache_outrun_total",
        "Stored values that were not used, because a change of their key is newer than what their load had heard of.",
    ),
    (
        "bilten_cache_refused_total",
        "Values not kept, by reason: their key changed meanwhile, they do not serialise, they are too large, their key is too long, they have too many tags or one that is too long; and loads that did not run, because too many others did.",
    ),
    (
        "bilten_cache_remote_failures_total",
        "Calls to the second level that failed or took too long.",
    ),
    (
        "bilten_cache_breaker_opened_total",
        "How often the circuit breaker of the second level opened.",
    ),
    (
        "bilten_cache_invalidations_total",
        "Removals and invalidations by this process.",
    ),
    (
        "bilten_cache_deferred_total",
        "Changes that could not reach the second level at once.",
    ),
    (
        "bilten_cache_flushes_total",
        "How often all of this process's memory was thrown away.",
    ),
    (
        "bilten_cache_evictions_total",
        "Entries that this process's memory had no room for.",
    ),
    (
        "bilten_cache_log_records_total",
        "Records of the invalidation log that were applied.",
    ),
    (
        "bilten_cache_log_gaps_total",
        "Gaps found in the invalidation log.",
    ),
    (
        "bilten_cache_log_unreadable_total",
        "Records and markers of the invalidation log that nobody could read; each counted as everything.",
    ),
];

const GAUGES: [(&str, &str); 9] = [
    ("bilten_cache_memory_entries", "Entries in this process."),
    (
        "bilten_cache_memory_bytes",
        "What the entries in this process weigh.",
    ),
    (
        "bilten_cache_connected",
        "1 while the second level answers and the log is up to date, 0 while not.",
    ),
    (
        "bilten_cache_log_position",
        "The last record of the invalidation log that was applied.",
    ),
    (
        "bilten_cache_log_lag_records",
        "Records of the invalidation log that are known and not applied yet.",
    ),
    (
        "bilten_cache_log_age_seconds",
        "Seconds since the invalidation log was last read to its end.",
    ),
    (
        "bilten_cache_markers",
        "Scopes that are remembered as invalidated.",
    ),
    (
        "bilten_cache_waiting",
        "Invalidations that wait for the second level.",
    ),
    (
        "bilten_cache_disk_bytes",
        "What values and source tokens of a second level on this machine's disk take.",
    ),
];

fn describe() {
    for (name, help) in COUNTERS {
        describe_counter!(name, help);
    }
    describe_histogram!(
        "bilten_cache_load_seconds",
        Unit::Seconds,
        "How long loaders took."
    );
    for (name, help) in GAUGES {
        describe_gauge!(name, help);
    }
}

impl CacheMeters {
    pub(crate) fn new(cache: &str) -> Arc<Self> {
        describe();
        let labels = [("cache", cache.to_owned())];
        Arc::new(Self {
            remote_failures: Meter::new(counter!("bilten_cache_remote_failures_total", &labels)),
            breaker_opened: Meter::new(counter!("bilten_cache_breaker_opened_total", &labels)),
            invalidations: Meter::new(counter!("bilten_cache_invalidations_total", &labels)),
            deferred: Meter::new(counter!("bilten_cache_deferred_total", &labels)),
            flushes: Meter::new(counter!("bilten_cache_flushes_total", &labels)),
            evictions: Meter::new(counter!("bilten_cache_evictions_total", &labels)),
            log_records: Meter::new(counter!("bilten_cache_log_records_total", &labels)),
            log_gaps: Meter::new(counter!("bilten_cache_log_gaps_total", &labels)),
            log_unreadable: Meter::new(counter!("bilten_cache_log_unreadable_total", &labels)),
        })
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        stats.remote_failures += self.remote_failures.value();
        stats.breaker_opened += self.breaker_opened.value();
        stats.invalidations += self.invalidations.value();
        stats.deferred += self.deferred.value();
        stats.flushes += self.flushes.value();
        stats.evictions += self.evictions.value();
        stats.log_records += self.log_records.value();
        stats.log_gaps += self.log_gaps.value();
        stats.log_unreadable += self.log_unreadable.value();
    }
}

/// Counts since the cache was built.
///
/// Every read is one of `hits_memory`, `hits_remote`, `misses` and `cancelled`; who waited for another caller's load counts as
/// `coalesced` besides. The fields from `remote_failures` on belong to the whole cache and are zero in a
/// region's statistics.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = bilten_cache::Cache::builder("shop").build().await?;
/// let prices = cache.region::<str, u32>("price").build()?;
/// prices.set("tea", 3).await?;
/// prices.get("tea").await;
/// assert_eq!(cache.stats().hits_memory, 1);
/// assert_eq!(cache.stats().hit_ratio(), 1.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads served by this process.
    pub hits_memory: u64,
    /// Reads served by the second level.
    pub hits_remote: u64,
    /// Reads served by neither.
    pub misses: u64,
    /// Those of the hits whose value was stale.
    pub stale: u64,
    /// Reads that waited for a load somebody else had begun.
    pub coalesced: u64,
    /// Reads that were given up before they had an answer: their caller left, or another key of the same call failed. What they had begun
    /// goes on.
    pub cancelled: u64,
    /// Keys for which a loader was called.
    pub loads: u64,
    /// Loaders that failed, panicked or took too long. Those that did not run are `loads_refused`.
    pub load_errors: u64,
    /// Entries of the second level that could not be read, for whatever reason. Each was a miss.
    pub undecodable: u64,
    /// Entries of the second level that were not used because a change of their key is newer than what their load had heard of. Each was a
    /// miss: mostly one that a fail-over brought back, or one that was loaded before the log brought the change to its process. Counted at each
    /// look, of which a read that waits for another process takes several.
    pub outrun: u64,
    /// Values that did not serialise.
    pub unencodable: u64,
    /// Values that were handed to their caller but not kept, because they are larger than the region's `max_value_bytes`.
    pub too_large: u64,
    /// Values that were handed to their caller but not kept, because of too many tags or one that is too long: see
    /// [`Loaded::tags`](crate::Loaded::tags).
    pub tags_refused: u64,
    /// Values that were handed to their caller but not kept in memory, because their key changed meanwhile.
    pub fills_refused: u64,
    /// Values that the second level refused, because their key changed meanwhile.
    pub stores_refused: u64,
    /// Loaded values that the second level did not get, because for as long as a call may take too many others were under way.
    pub stores_left_out: u64,
    /// Calls with a key that is too long.
    pub keys_refused: u64,
    /// Loads that did not run, because too many others did.
    pub loads_refused: u64,
    /// Calls to the second level that failed or took too long.
    pub remote_failures: u64,
    /// How often the circuit breaker opened.
    pub breaker_opened: u64,
    /// Removals and invalidations by this process.
    pub invalidations: u64,
    /// Those of them that could not reach the second level at once.
    pub deferred: u64,
    /// How often all of L1 was thrown away because records of the log were missing or could not be delivered.
    pub flushes: u64,
    /// Entries that memory had no room for: given up for others, or not taken.
    pub evictions: u64,
    /// Records of the log that were applied.
    pub log_records: u64,
    /// Gaps found in the log.
    pub log_gaps: u64,
    /// Records and markers of the log that nobody could read, of another program or a future version. Each counted as everything, except
    /// one far ahead of our own records, which was taken out.
    pub log_unreadable: u64,
}

impl Stats {
    /// Hits of both levels over all reads that were answered, from 0 to 1; 0 before the first read.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn hit_ratio(&self) -> f64 {
        let hits = self.hits_memory + self.hits_remote;
        let reads = hits + self.misses;
        if reads == 0 {
            0.0
        } else {
            hits as f64 / reads as f64
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.hits_memory += other.hits_memory;
        self.hits_remote += other.hits_remote;
        self.misses += other.misses;
        self.stale += other.stale;
        self.coalesced += other.coalesced;
        self.cancelled += other.cancelled;
        self.loads += other.loads;
        self.load_errors += other.load_errors;
        self.undecodable += other.undecodable;
        self.outrun += other.outrun;
        self.unencodable += other.unencodable;
        self.too_large += other.too_large;
        self.tags_refused += other.tags_refused;
        self.fills_refused += other.fills_refused;
        self.stores_refused += other.stores_refused;
        self.stores_left_out += other.stores_left_out;
        self.keys_refused += other.keys_refused;
        self.loads_refused += other.loads_refused;
    }
}
