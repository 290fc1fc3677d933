//! Where one key is, and what decides whether it is served.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Nanos, nanos};
use crate::coherence::Changed;
use crate::entry::Began;
use crate::envelope::Envelope;
use crate::region_state::RegionState;
use crate::remote::Demand;
use crate::spans::Ask;
use crate::staleness::{Windows, end_of, signed};

/// Where a key is and why it is served or not, from [`Region::explain`](crate::Region::explain). Its `Display` is a line for each level.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::status::Verdict;
/// use bilten_cache::{Cache, Loaded};
///
/// let cache = Cache::builder("shop").build().await?;
/// let prices = cache.region::<str, u32>("price").build()?;
/// let _ = prices.set("tea", Loaded::new(3).tags(["drinks"])).await?;
/// let _ = cache.invalidate_tag("drinks").await;
///
/// let found = prices.explain("tea").await;
/// assert!(matches!(&found.memory, Verdict::Invalidated { by, .. } if by == "tag drinks"));
/// assert_eq!(found.remote, Verdict::NoLevel);
/// println!("{found}");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The encoded key, as patterns and the store see it.
    pub key: String,
    /// This process.
    pub memory: Verdict,
    /// The second level.
    pub remote: Verdict,
    /// Which state of its source the next load must reflect, as far as this process knows; see [`source`](crate::source).
    pub at_least: Option<Demand>,
}

/// What one level has to say about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// There is no such level, or values of this region do not go there.
    NoLevel,
    /// It has nothing under this key.
    Absent,
    /// It is served.
    Fresh {
        /// Since it was stored.
        age: Duration,
        /// Until its time to live is over in this level.
        left: Duration,
    },
    /// Its time to live is over; it is kept for readers that may be served stale values and for loaders.
    Stale {
        /// Since it was stored.
        age: Duration,
        /// Whether `expire` ended its time to live early.
        expired: bool,
        /// The setting that ended it in this level: `time_to_live` (of the region or of the value), `negative_time_to_live`,
        /// `memory_time_to_live` or `time_to_idle`; or `expire`.
        ended_by: &'static str,
        /// How much longer it may be served at once while it is loaded anew.
        while_revalidate: Duration,
        /// How much longer it may stand in for a load that fails.
        if_error: Duration,
    },
    /// Something invalidated it, or may have.
    Invalidated {
        /// What: a tag, a pattern, everything, another log.
        by: String,
        /// The position of that in the log.
        at: u64,
        /// The position that the value reflects.
        reflects: u64,
    },
    /// It is there but cannot be used.
    Unusable(String),
    /// Nobody asked, and why.
    NotAsked(String),
}

impl<V: Send + Sync + 'static> RegionState<V> {
    /// Asks both levels and changes nothing.
    pub(crate) async fn explain(&self, key: &str) -> Explanation {
        let remote = self.explain_remote(key).await;
        let (_, at_least) = self.engine.coherence.begin_load(key);
        Explanation {
            key: key.to_owned(),
            memory: self.explain_memory(key),
            remote,
            at_least,
        }
    }

    fn explain_memory(&self, key: &str) -> Verdict {
        let now = self.engine.clock.now();
        let Some(entry) = self.engine.memory.get(key) else {
            return Verdict::Absent;
        };
        if let Some(verdict) = self.invalidated(key, entry.tags(), entry.began()) {
            return verdict;
        }
        if !self.engine.coherence.trusts(key, &entry, now) {
            return Verdict::Unusable(CUT_OFF.to_owned());
        }
        let age = self.age(now, entry.created_millis);
        let left = Duration::from_nanos(entry.fresh_left(now));
        // One that was stale when it came from the second level has no time left either.
        let early = entry.ends > signed(now);
        let expired = early && entry.age().expired;
        let times = Times {
            ends: entry.ends,
            expired,
            ended_by: match early && !expired {
                true => self.ended_early(),
                false => self.ended_by(expired, || entry.value()),
            },
        };
        times.verdict(age, left, &self.options.windows, now)
    }

    /// What takes an entry out of memory that is still fresh in the second level.
    fn ended_early(&self) -> &'static str {
        match self.options.time_to_idle {
            Some(_) => "time_to_idle",
            None => "memory_time_to_live",
        }
    }

    fn ended_by(&self, expired: bool, value: impl FnOnce() -> Option<Arc<V>>) -> &'static str {
        if expired {
            return "expire";
        }
        let own = self.options.negative_time_to_live.and(self.is_negative);
        let negative =
            own.is_some_and(|is_negative| value().is_some_and(|value| is_negative(&value)));
        match negative {
            true => "negative_time_to_live",
            false => "time_to_live",
        }
    }

    async fn explain_remote(&self, key: &str) -> Verdict {
        let (Some(gate), Some(_)) = (&self.engine.gate, &self.codec) else {
            return Verdict::NoLevel;
        };
        let coherence = &self.engine.coherence;
        if !coherence.is_synced() || coherence.is_isolated(self.engine.clock.now()) {
            return Verdict::NotAsked(CUT_OFF.to_owned());
        }
        if self.engine.recovery.covers(key) {
            let why = "an invalidation that takes it waits for the second level";
            return Verdict::NotAsked(why.to_owned());
        }
        let start = self.engine.start(key);
        match gate.call(Ask::Read, |remote| remote.read(key)).await {
            Err(error) => Verdict::NotAsked(error.to_string()),
            Ok(None) => Verdict::Absent,
            Ok(Some(bytes)) => self.explain_bytes(key, &bytes, start.began.generation),
        }
    }

    fn explain_bytes(&self, key: &str, bytes: &Bytes, generation: u64) -> Verdict {
        let Some(envelope) = Envelope::decode(bytes, &self.name, key) else {
            let why = "not an entry of this key, or of a version that is not known here";
            return Verdict::Unusable(why.to_owned());
        };
        let began = Began {
            position: envelope.position,
            generation,
            incarnation: envelope.incarnation,
        };
        if envelope.incarnation != self.engine.coherence.incarnation() {
            return Verdict::Invalidated {
                by: "another log: this one was begun anew".to_owned(),
                at: self.engine.coherence.seen(),
                reflects: envelope.position,
            };
        }
        if let Some(verdict) = self.invalidated(key, &envelope.tags, began) {
            return verdict;
        }
        let changed = self.engine.coherence.changed(key);
        if let Some(verdict) = self.brought_back(&envelope, changed) {
            return verdict;
        }
        if envelope.schema != self.options.schema_version {
            let (found, own) = (envelope.schema, self.options.schema_version);
            return Verdict::Unusable(format!("schema version {found}, this region reads {own}"));
        }
        if let Some(codec) = self.codec.filter(|own| own.format.code != envelope.format) {
            let own = codec.format.name;
            return Verdict::Unusable(format!(
                "written in another format, this region reads {own}"
            ));
        }
        let now = self.engine.clock.now();
        let ends = end_of(
            now,
            envelope.created_millis,
            envelope.fresh_millis,
            self.engine.coherence.server_millis(now),
        );
        let age = self.age(now, envelope.created_millis);
        let expired = envelope.expired || envelope.follows() < changed.expired;
        let left = if expired { 0 } else { until(ends, now) };
        let value = || {
            let payload = self.payload(&envelope)?;
            self.codec?.decode(&payload).ok().map(Arc::new)
        };
        let times = Times {
            ends,
            expired,
            ended_by: self.ended_by(expired, value),
        };
        times.verdict(age, Duration::from_nanos(left), &self.options.windows, now)
    }

    fn brought_back(&self, envelope: &Envelope<'_>, changed: Changed) -> Option<Verdict> {
        let coherence = &self.engine.coherence;
        let (by, at, reflects) = if envelope.follows() < changed.removed {
            let by = "a change of the key, which a fail-over has lost";
            (by, changed.removed, envelope.follows())
        } else if coherence.may_be_brought_back(envelope.position) {
            let by = "an older copy of the log, which may have brought it back";
            (by, coherence.seen(), envelope.position)
        } else {
            return None;
        };
        let by = by.to_owned();
        Some(Verdict::Invalidated { by, at, reflects })
    }

    fn invalidated(&self, key: &str, tags: &[Arc<str>], began: Began) -> Option<Verdict> {
        let coherence = &self.engine.coherence;
        if coherence.is_valid(key, tags, began) {
            return None;
        }
        let (by, at) = coherence.decider(key, tags, began);
        Some(Verdict::Invalidated {
            by,
            at,
            reflects: began.position,
        })
    }

    fn age(&self, now: Nanos, created_millis: u64) -> Duration {
        let server = self.engine.coherence.server_millis(now);
        Duration::from_millis(server.saturating_sub(created_millis))
    }
}

const CUT_OFF: &str = "this process has not heard of the log for too long (`isolated_ttl`)";

/// When an entry's time is over.
struct Times {
    ends: i64,
    expired: bool,
    /// What ended it, if it is over.
    ended_by: &'static str,
}

impl Times {
    fn verdict(self, age: Duration, left: Duration, windows: &Windows, now: Nanos) -> Verdict {
        if !left.is_zero() {
            return Verdict::Fresh { age, left };
        }
        let within = |window: Duration| {
            let end = self.ends.saturating_add(signed(nanos(window)));
            let left = if window.is_zero() { 0 } else { until(end, now) };
            Duration::from_nanos(left)
        };
        Verdict::Stale {
            age,
            expired: self.expired,
            ended_by: self.ended_by,
            while_revalidate: within(windows.while_revalidate),
            if_error: within(windows.if_error),
        }
    }
}

fn until(end: i64, now: Nanos) -> u64 {
    u64::try_from(end.saturating_sub(signed(now))).unwrap_or(0)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.key)?;
        writeln!(f, "  memory: {}", self.memory)?;
        write!(f, "  remote: {}", self.remote)?;
        match &self.at_least {
            None => Ok(()),
            Some(Demand::Newest) => write!(f, "\n  source: its newest state"),
            Some(demand) => {
                let token = demand.as_bytes().escape_ascii();
                write!(f, "\n  source: at least the state `{token}`")
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLevel => f.write_str("no such level for this region"),
            Self::Absent => f.write_str("nothing"),
            Self::Fresh { age, left } => {
                write!(f, "fresh, stored {age:.1?} ago, for another {left:.1?}")
            }
            Self::Stale {
                age,
                ended_by,
                while_revalidate,
                if_error,
                ..
            } => {
                write!(
                    f,
                    "stale, stored {age:.1?} ago and ended by `{ended_by}`; served at once for another {while_revalidate:.1?}, "
                )?;
                write!(f, "after a failed load for another {if_error:.1?}")
            }
            Self::Invalidated { by, at, reflects } => {
                write!(f, "invalidated by {by} at {at}, it reflects {reflects}")
            }
            Self::Unusable(why) => write!(f, "there, but of no use: {why}"),
            Self::NotAsked(why) => write!(f, "not asked: {why}"),
        }
    }
}
