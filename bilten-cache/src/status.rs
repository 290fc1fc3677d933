//! How a cache is doing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
pub use crate::explain::{Explanation, Verdict};
use crate::remote::BreakerState;

/// How a cache is doing, from [`Cache::status`](crate::Cache::status). Its `Display` is one line for a log.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
/// use bilten_cache::status::Connection;
///
/// let status = Cache::builder("shop").build().await?.status();
/// assert_eq!(status.connection, Connection::MemoryOnly);
/// assert_eq!(status.to_string(), "memory only, 0 entries in 0 bytes");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether there is a second level and whether it answers.
    pub connection: Connection,
    /// Why the second level does not work, in words without credentials: a password that is not accepted, for example. `None` while
    /// it works or when nobody has found out yet.
    pub cause: Option<Arc<str>>,
    /// The last record of the log that was applied.
    pub log_position: u64,
    /// Records that are known to be in the log and were not applied yet.
    pub log_lag: u64,
    /// How long ago the log was read to its end; `None` when it never was, or without a second level. A healthy process reads at least
    /// twice a second.
    pub log_age: Option<Duration>,
    /// Scopes that are remembered as invalidated.
    pub markers: usize,
    /// How often a limit made an invalidation wider than it was: too many scopes to remember, too many that wait for the second level, or
    /// a link too slow to read all of them when this process began to follow the log.
    pub markers_widened: u64,
    /// Invalidations that wait for the second level.
    pub waiting: usize,
    /// Entries in this process.
    pub memory_entries: u64,
    /// What they weigh, in bytes.
    pub memory_bytes: u64,
    /// What values and source tokens of a second level on this machine's disk take, in bytes; `None` for any other.
    pub disk_bytes: Option<u64>,
}

/// Whether there is a second level and whether it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// There is none.
    MemoryOnly,
    /// It answers and the log is up to date.
    Connected,
    /// The log has not been heard of for some time; entries of this process are served a little longer.
    Unheard,
    /// It fails or has not been reached yet: reads come from memory and from loaders.
    Down,
}

impl Status {
    pub(crate) fn of(engine: &Engine) -> Self {
        let (markers, markers_widened) = engine.coherence.markers();
        Self {
            connection: Connection::of(engine),
            cause: engine.gate.as_ref().and_then(|gate| gate.outage().why()),
            log_position: engine.coherence.settled(),
            log_lag: engine.coherence.lag(),
            log_age: engine
                .coherence
                .silence(engine.clock.now())
                .map(Duration::from_nanos),
            markers,
            markers_widened: markers_widened + engine.recovery.collapses(),
            waiting: engine.recovery.len(),
            disk_bytes: engine.disk_bytes(),
            memory_entries: engine.memory.entries(),
            memory_bytes: engine.memory.bytes(),
        }
    }
}

impl Connection {
    fn of(engine: &Engine) -> Self {
        let Some(gate) = &engine.gate else {
            return Self::MemoryOnly;
        };
        let fails = gate.breaker_state() != BreakerState::Closed || gate.outage().is_down();
        if fails || !engine.coherence.is_synced() {
            Self::Down
        } else if engine.coherence.is_isolated(engine.clock.now()) {
            Self::Unheard
        } else {
            Self::Connected
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.connection {
            Connection::MemoryOnly => "memory only",
            Connection::Connected => "second level connected",
            Connection::Unheard => "second level silent",
            Connection::Down => "second level down, serving from memory",
        })?;
        write!(
            f,
            ", {} entries in {} bytes",
            self.memory_entries, self.memory_bytes
        )?;
        if self.log_lag > 0 {
            write!(f, ", {} records behind", self.log_lag)?;
        }
        if self.waiting > 0 {
            write!(f, ", {} invalidations waiting", self.waiting)?;
        }
        Ok(())
    }
}

/// What was left when a cache was shut down, from [`Cache::shutdown`](crate::Cache::shutdown).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use bilten_cache::Cache;
///
/// let cache = Cache::builder("shop").build().await?;
/// assert!(cache.shutdown(Duration::from_secs(5)).await.is_clean());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Invalidations that the second level does not know of. What they were about may be served by other processes until its time
    /// to live is over.
    pub undelivered: usize,
    /// Loads and changes that were still under way. They go on without the second level.
    pub unfinished: usize,
}

impl Shutdown {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(self) -> bool {
        self.undelivered == 0 && self.unfinished == 0
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} invalidations not delivered, {} calls not finished",
            self.undelivered, self.unfinished
        )
    }
}

/// What a sweep did, from [`Cache::sweep`](crate::Cache::sweep).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swept {
    /// Values that were looked at; some of them perhaps twice.
    pub seen: u64,
    /// Dead values that were removed.
    pub removed: u64,
    /// Whether the walk came to its end. If not, the second level stopped answering.
    pub finished: bool,
}

impl Swept {
    pub(crate) fn finished() -> Self {
        Self {
            seen: 0,
            removed: 0,
            finished: true,
        }
    }
}
