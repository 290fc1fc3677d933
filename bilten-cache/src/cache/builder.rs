use std::cmp::Ordering;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Cache;
use crate::admission::Admission;
use crate::clock::{Clock, nanos};
use crate::coherence::{Coherence, Demands, Order};
use crate::engine::Engine;
use crate::error::Error;
use crate::events::{Event, Teller};
use crate::gauges;
use crate::memory::{Eviction, Memory};
use crate::options::{LONGEST, check_loads};
use crate::recovery::Recovery;
use crate::registry::Registry;
use crate::remote::{Gate, Limits, OnBreaker, Remote};
use crate::shared::Shared;
use crate::stats::CacheMeters;
use crate::tail;
use crate::tasks::Tasks;
use crate::ticket::Tickets;

/// Settings of a [`Cache`], from [`Cache::builder`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::Cache;
///
/// let cache = Cache::builder("shop").memory_bytes(16 << 20).build().await?;
/// assert_eq!(cache.name(), "shop");
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build()`"]
pub struct CacheBuilder {
    name: String,
    memory_bytes: u64,
    eviction: Eviction,
    remote: Second,
    pub(crate) limits: Limits,
    isolated_ttl: Duration,
    read_only: bool,
    max_concurrent_loads: Option<usize>,
    source: Source,
    pub(crate) clock: Clock,
    pub(crate) tickets: Tickets,
    #[cfg(feature = "test-util")]
    pub(crate) forgets_changes: bool,
}

#[derive(Debug)]
enum Second {
    None,
    #[cfg(any(feature = "fred", feature = "redis"))]
    Redis(crate::remote::redis::Redis),
    #[cfg(feature = "disk")]
    Disk(crate::remote::DiskOptions),
    Own(Arc<dyn Remote>),
}

/// How the states of the source compare, and for how long a replica may lag.
struct Source {
    order: Order,
    lag: Duration,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("lag", &self.lag)
            .finish_non_exhaustive()
    }
}

impl CacheBuilder {
    #[cfg(feature = "config")]
    pub(crate) fn of(name: &str) -> Self {
        Self::new(name.to_owned())
    }

    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            memory_bytes: 64 << 20,
            eviction: Eviction::default(),
            remote: Second::None,
            limits: Limits {
                budget: Duration::from_millis(250),
                concurrent: 1024,
                crowd: 0,
            },
            isolated_ttl: Duration::from_secs(5),
            read_only: false,
            max_concurrent_loads: None,
            source: Source {
                order: Arc::new(|_, _| None),
                lag: Duration::from_secs(600),
            },
            clock: Clock::system(),
            tickets: Tickets::new(),
            #[cfg(feature = "test-util")]
            forgets_changes: false,
        }
    }

    /// The memory for entries of all regions, in bytes. Defaults to 64 MiB. Zero keeps nothing in this process, which is no news and no
    /// eviction; otherwise an entry that is larger than all of it counts as [evicted](crate::Stats::evictions).
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Lets the CLOCK-Pro of quick_cache decide what stays in memory, where otherwise moka's TinyLFU does. An entry that comes in costs no
    /// allocation then and less memory, which shows in hits of the second level and in calls for many keys; hits in memory cost the same.
    /// One value may take up to 97 % of `memory_bytes`, or of its share where that is above 64 MiB: of 32 MiB or more.
    #[cfg(feature = "quick-cache")]
    pub fn clock_pro(mut self) -> Self {
        self.eviction = Eviction::ClockPro;
        self
    }

    /// Puts Redis or Valkey behind the memory. Without it the cache is in memory only.
    #[cfg(any(feature = "fred", feature = "redis"))]
    pub fn redis(mut self, redis: impl Into<crate::remote::redis::Redis>) -> Self {
        self.remote = Second::Redis(redis.into());
        self
    }

    /// Puts a folder of this machine behind the memory, so that the cache outlives its process without a server. For one
    /// process; several share a Redis.
    ///
    /// A folder that cannot be used is an error of [`build`](Self::build). A disk that fails later only slows: the cache goes on
    /// from memory, and the store begins anew, empty, when it can.
    #[cfg(feature = "disk")]
    pub fn disk(mut self, disk: impl Into<crate::remote::DiskOptions>) -> Self {
        self.remote = Second::Disk(disk.into());
        self
    }

    /// Puts a second level of your own behind the memory.
    pub fn remote(mut self, remote: impl Remote) -> Self {
        self.remote = Second::Own(Arc::new(remote));
        self
    }

    /// How long one call to the second level may take. Defaults to 250 ms; more than a day counts as a day. A read that it cannot answer in this time goes on
    /// to its loader.
    pub fn remote_budget(mut self, budget: Duration) -> Self {
        // What is added to a clock must not overflow it.
        self.limits.budget = budget.min(Duration::from_secs(24 * 60 * 60));
        self
    }

    /// How many calls to the second level may be under way at once. Defaults to 1,024. More reads are misses, so that memory stays
    /// bounded when it stalls; more changes wait for their turn, as long as [`remote_budget`](Self::remote_budget), before they are
    /// [`Ack::Deferred`](crate::Ack::Deferred).
    pub fn remote_concurrency(mut self, calls: usize) -> Self {
        self.limits.concurrent = calls;
        self
    }

    /// How long entries of this process are served without news from the log. Defaults to 5 s. This bounds how stale
    /// a process can be that is cut off.
    pub fn isolated_ttl(mut self, limit: Duration) -> Self {
        self.isolated_ttl = limit;
        self
    }

    /// Changes nothing in the second level, in any region: no value, no lease, no record of the log. It still reads and listens. Invalidations
    /// answer [`Ack::ReadOnly`](crate::Ack::ReadOnly). A user of Redis that may only read is enough then: `+@read +@connection +@scripting +time` and
    /// `+info`. Without a process that writes there is no log, and nothing is read from the second level.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// How many loads run at once in this process, of all regions. No limit by default. The same happens at the limit as with
    /// [`RegionBuilder::max_concurrent_loads`](crate::RegionBuilder::max_concurrent_loads).
    pub fn max_concurrent_loads(mut self, loads: usize) -> Self {
        self.max_concurrent_loads = Some(loads);
        self
    }

    /// How two source tokens compare, see [`source`](crate::source): which of the two states takes in the other. `None` when neither is known to,
    /// for example because they belong to two histories of a database; then loads have to read the newest state. By itself only equal tokens
    /// compare. All processes that share the cache must say the same.
    pub fn source_order(
        mut self,
        order: impl Fn(&[u8], &[u8]) -> Option<Ordering> + Send + Sync + 'static,
    ) -> Self {
        self.source.order = Arc::new(order);
        self
    }

    /// For how long a source token is remembered: longer than any replica lags. Defaults to ten minutes; ten years at most. In this process there is room
    /// for the tokens of 16,384 keys and 256 patterns; the oldest above those are asked of every load, which costs a read of a
    /// replica that has come far enough, never an old value.
    pub fn source_lag(mut self, longest: Duration) -> Self {
        self.source.lag = longest;
        self
    }

    /// Builds the cache. A second level that cannot be reached is not an error: the cache works from memory, says so in a
    /// warning and in [`Cache::status`], and connects when it can. Behind a slow link it waits for the markers of what was invalidated, up to 20 s.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the setting that has no meaning. Wrong credentials are one.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, when there is a second level.
    pub async fn build(self) -> Result<Cache, Error> {
        self.check()?;
        let remote: Option<Arc<dyn Remote>> = match self.remote {
            Second::None => None,
            #[cfg(any(feature = "fred", feature = "redis"))]
            Second::Redis(redis) => Some(redis.connect(&self.name, self.limits.budget).await?),
            #[cfg(feature = "disk")]
            Second::Disk(disk) => {
                Some(Arc::new(crate::remote::Disk::open(&self.name, disk).await?))
            }
            Second::Own(remote) => Some(remote),
        };
        let name: Arc<str> = self.name.into();
        let meters = CacheMeters::new(&name);
        let teller = Arc::new(Teller::new());
        let isolated = remote.is_some().then(|| nanos(self.isolated_ttl));
        let node = fastrand::u64(1..);
        let clock = self.clock;
        let Source { order, lag } = self.source;
        let demands = Demands::new(order, lag.min(LONGEST), clock.clone());
        let mut memory = Memory::new(
            self.eviction,
            self.memory_bytes,
            clock.clone(),
            no_room(&teller, &meters, self.memory_bytes),
        )
        .put_to_sleep(self.memory_bytes);
        if remote.is_some() {
            // Where there are calls to wait for, there is time for it.
            memory = memory.putting_off(self.memory_bytes);
        }
        let engine = Arc::new(Engine {
            name: Arc::clone(&name),
            node,
            memory: Arc::new(memory),
            tickets: self.tickets,
            #[cfg(feature = "test-util")]
            coherence: Coherence::new(node, isolated)
                .minding(demands)
                .forgetting_changes(self.forgets_changes),
            #[cfg(not(feature = "test-util"))]
            coherence: Coherence::new(node, isolated).minding(demands),
            gate: remote.map(|remote| {
                Gate::new(
                    &name,
                    remote,
                    self.limits,
                    clock.clone(),
                    Arc::clone(&meters),
                    on_breaker(&teller),
                )
            }),
            recovery: Recovery::default(),
            admission: Admission::new(self.max_concurrent_loads),
            read_only: self.read_only,
            writes: Mutex::default(),
            tasks: Tasks::default(),
            meters,
            teller,
            longest_life: AtomicU64::new(0),
            clock,
        });
        let tail = if engine.gate.is_some() {
            Some(tail::start(&engine).await)
        } else {
            gauges::start(&engine)
        };
        let regions = Registry::new(name);
        Ok(Cache {
            shared: Arc::new(Shared::new(engine, regions, tail)),
        })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(plain) {
            return Err(Error::config(
                "cache name",
                format!("`{}` is not a name", self.name.escape_debug()),
                "use 1 to 64 letters, digits and `_ - .`",
            ));
        }
        check_loads(self.max_concurrent_loads)?;
        for (field, duration) in [
            ("remote_budget", self.limits.budget),
            ("isolated_ttl", self.isolated_ttl),
            ("source_lag", self.source.lag),
        ] {
            if duration.is_zero() {
                return Err(Error::config(
                    field,
                    "it is zero",
                    "use a positive duration",
                ));
            }
        }
        if self.limits.concurrent == 0 || self.limits.concurrent > 1 << 20 {
            let problem = format!("it is {}", self.limits.concurrent);
            return Err(Error::config(
                "remote_concurrency",
                problem,
                "use 1 to 1,048,576",
            ));
        }
        Ok(())
    }
}

fn no_room(
    teller: &Arc<Teller>,
    meters: &Arc<CacheMeters>,
    memory_bytes: u64,
) -> impl Fn(&[u8]) + Send + Sync + 'static {
    let (teller, meters) = (Arc::clone(teller), Arc::clone(meters));
    move |key| {
        if memory_bytes == 0 {
            return;
        }
        meters.evictions.add(1);
        teller.tell(|| Event::Evicted {
            key: String::from_utf8_lossy(key).into(),
        });
    }
}

fn on_breaker(teller: &Arc<Teller>) -> OnBreaker {
    let teller = Arc::clone(teller);
    OnBreaker::new(move |open| teller.tell(|| Event::Breaker { open }))
}
