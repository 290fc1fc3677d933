mod after;
mod builder;
mod shutdown;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::after::CacheAfter;
pub use self::builder::CacheBuilder;
#[cfg(feature = "http")]
use crate::codec::Codec;
use crate::codec::default_codec;
use crate::events::Events;
use crate::invalidate::{self, Ack};
use crate::key::Key;
use crate::loader::{MAX_TAG_BYTES, MAX_TAGS};
use crate::pattern::Pattern;
use crate::region::RegionBuilder;
use crate::remote::{Demand, Scope};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::status::{Shutdown, Status, Swept};
use crate::sweep;

/// What is remembered of a set of tags, by every process and in Redis, for as long as entries live.
const MAX_SET_BYTES: usize = 1_024;

/// A cache: one budget of memory, one second level, one log of invalidations.
///
/// Cheap to clone; its tasks and connections end with the last clone and the last [`Region`](crate::Region). What waits for a second
/// level that is away is lost then: call [`shutdown`](Self::shutdown) first.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::{Cache, Pattern};
///
/// let cache = Cache::builder("shop").memory_bytes(64 << 20).build().await?;
/// let lists = cache.region::<(str_key::City, u32), Vec<i64>>("events:list").build()?;
/// # mod str_key { pub type City = String; }
///
/// let page = ("berlin".to_owned(), 1);
/// lists.get_or_load(&page, async |_| Ok::<_, std::io::Error>(vec![1, 2, 3])).await?;
///
/// let _ = cache.invalidate_pattern(&Pattern::glob("events:list:berlin:*")?).await;
/// assert_eq!(lists.peek(&page), None);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

impl Cache {
    /// Starts to build a cache. The name is part of every key in the second level and a label of every metric, so
    /// caches that shall share entries have the same name.
    pub fn builder(name: impl Into<String>) -> CacheBuilder {
        CacheBuilder::new(name.into())
    }

    /// Starts to build a region whose values are kept in both levels.
    ///
    /// `name` is the first part of the region's keys: `event` holds `event:1`, `event:2` and so on.
    pub fn region<K, V>(&self, name: impl Into<String>) -> RegionBuilder<K, V>
    where
        K: Key + ?Sized,
        V: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        RegionBuilder::new(Arc::clone(&self.shared), name.into(), default_codec())
    }

    /// Starts to build a region whose values stay in this process, because they cannot or shall not be serialised.
    /// Invalidations still reach every process.
    ///
    /// Without a serialised form nobody knows what a value has on the heap: give the region a
    /// [`weigher`](RegionBuilder::weigher), or `memory_bytes` counts each value as nothing but its own size and the cost of an entry.
    pub fn memory_region<K, V>(&self, name: impl Into<String>) -> RegionBuilder<K, V>
    where
        K: Key + ?Sized,
        V: Send + Sync + 'static,
    {
        RegionBuilder::new(Arc::clone(&self.shared), name.into(), None)
    }

    /// A region whose values have a format of their own.
    #[cfg(feature = "http")]
    pub(crate) fn region_with<K, V>(&self, name: &str, codec: Codec<V>) -> RegionBuilder<K, V>
    where
        K: Key + ?Sized,
        V: Send + Sync + 'static,
    {
        RegionBuilder::new(Arc::clone(&self.shared), name.to_owned(), Some(codec))
    }

    /// Invalidates every key that the pattern takes, in all regions and processes. One append to the log, whether three
    /// keys match or three million.
    ///
    /// One that begins with more plain text than the longest key has ([`MAX_KEY_BYTES`](crate::key::MAX_KEY_BYTES)) takes no entry, so
    /// there is nothing to do.
    ///
    /// # Cancellation
    ///
    /// Once polled, the change is made even if the caller is dropped. So it is for all invalidations.
    pub async fn invalidate_pattern(&self, pattern: &Pattern) -> Ack {
        self.invalidate_pattern_after(pattern, None).await
    }

    async fn invalidate_pattern_after(&self, pattern: &Pattern, after: Option<Demand>) -> Ack {
        if pattern.takes_nothing() {
            return self.nothing_to_do();
        }
        let scope = Scope::Pattern(pattern.clone());
        invalidate::invalidate_after(&self.shared.engine, scope, after).await
    }

    /// Invalidates every entry that carries the tag, in all regions and processes. Costs as little as a pattern.
    ///
    /// For what carries *all* of several tags there is [`invalidate_all_of_tags`](Self::invalidate_all_of_tags).
    ///
    /// A tag longer than 256 bytes is on no entry, so there is nothing to do.
    pub async fn invalidate_tag(&self, tag: &str) -> Ack {
        self.invalidate_tag_after(tag, None).await
    }

    async fn invalidate_tag_after(&self, tag: &str, after: Option<Demand>) -> Ack {
        if tag.len() > MAX_TAG_BYTES {
            return self.nothing_to_do();
        }
        let scope = Scope::Tag(tag.into());
        invalidate::invalidate_after(&self.shared.engine, scope, after).await
    }

    /// Invalidates every entry that carries all of these tags, in all regions and processes. Costs as little as one tag, whatever the number of
    /// entries that carry some of them.
    ///
    /// Of one tag that is what [`invalidate_tag`](Self::invalidate_tag) does. Of none it is a [`clear`](Self::clear): every entry carries all
    /// of them. A set that no entry can carry, of more than 64 tags or with one longer than 256 bytes, has nothing to do.
    /// One of more than 1 KiB together is about the first of them, in the order of the alphabet, that are less.
    ///
    /// A process of a version before this one takes the record for one about everything, and misses once where it would not have to.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bilten_cache::{Cache, Loaded};
    ///
    /// let cache = Cache::builder("shop").build().await?;
    /// let events = cache.region::<i64, String>("event").build()?;
    /// let _ = events.set(&1, Loaded::new("a concert".to_owned()).tags(["berlin", "jazz"])).await?;
    /// let _ = events.set(&2, Loaded::new("a walk".to_owned()).tags(["berlin"])).await?;
    ///
    /// let _ = cache.invalidate_all_of_tags(["jazz", "berlin"]).await;
    /// assert_eq!(events.peek(&1), None);
    /// assert!(events.peek(&2).is_some());
    /// # Ok(()) }
    /// ```
    pub async fn invalidate_all_of_tags<T: Into<Arc<str>>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Ack {
        self.invalidate_all_of_tags_after(Scope::all_of(tags), None)
            .await
    }

    async fn invalidate_all_of_tags_after(&self, scope: Scope, after: Option<Demand>) -> Ack {
        let is_long = |tag: &Arc<str>| tag.len() > MAX_TAG_BYTES;
        let on_none = match &scope {
            Scope::Tag(tag) => is_long(tag),
            Scope::Tags(tags) => tags.len() > MAX_TAGS || tags.iter().any(is_long),
            _ => false,
        };
        if on_none {
            return self.nothing_to_do();
        }
        let scope = scope.within(MAX_SET_BYTES);
        invalidate::invalidate_after(&self.shared.engine, scope, after).await
    }

    /// What to say of what no entry can be of. Text from outside may be of any length, and a record of it would stay with everybody.
    fn nothing_to_do(&self) -> Ack {
        let engine = &self.shared.engine;
        match (engine.read_only, engine.gate.is_some()) {
            (true, _) => Ack::ReadOnly,
            (false, true) => Ack::Everywhere,
            (false, false) => Ack::Local,
        }
    }

    /// Invalidations that tell later loads which state of the source they must reflect, as [`Region::after`](crate::Region::after) does. For a
    /// tag that is every load, because the tags of a value are not known before it is loaded.
    #[must_use = "this is only the token; the change follows"]
    pub fn after(&self, token: impl AsRef<[u8]>) -> CacheAfter<'_> {
        CacheAfter::new(self, Demand::of(token))
    }

    /// Invalidates everything, in all regions and processes.
    pub async fn clear(&self) -> Ack {
        invalidate::invalidate(&self.shared.engine, Scope::All).await
    }

    /// Removes dead values from the second level, to give their space back before their time to live does. Reads do not need it: a value that was
    /// invalidated by a tag, a pattern or a `clear` is a miss from then on, whether it is still there or not.
    ///
    /// Walks over all keys of each primary with `SCAN` and looks at the beginning of each value, some at a time: about a round trip per sixteen
    /// keys. A value is removed only while it is still the one that was looked at. An ACL user needs `SCAN`, `GETRANGE` and `UNLINK`, on a
    /// cluster also `CLUSTER SLOTS`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = bilten_cache::Cache::builder("shop").build().await?;
    /// let _ = cache.clear().await;
    /// let swept = cache.sweep().await;
    /// println!("{} of {} values were dead", swept.removed, swept.seen);
    /// # Ok(()) }
    /// ```
    ///
    /// # Cancellation
    ///
    /// Dropped, it stops where it is.
    pub async fn sweep(&self) -> Swept {
        sweep::run(&self.shared.engine).await
    }

    /// Ends the cache in order: waits for loads and changes that are under way, hands the invalidations that still wait to the second level, leaves the
    /// log and closes the connections. All of it takes at most `limit` and a second; the report says what was left.
    ///
    /// Handles may be used afterwards. With a second level they then work as if it were away: from loaders, with memory for at most
    /// `isolated_ttl`.
    ///
    /// # Cancellation
    ///
    /// Dropped, it may have left the log already. Call it again.
    pub async fn shutdown(&self, limit: Duration) -> Shutdown {
        shutdown::run(&self.shared, limit).await
    }

    /// Counts of all regions since the cache was built.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.regions.stats();
        self.shared.engine.meters.add_to(&mut stats);
        stats
    }

    /// What happens from now on, one event after the other: hits, misses, loads, what was not kept and why, invalidations, evictions, the breaker.
    /// Costs next to nothing while nobody listens; a listener that is slow loses events and is told how many.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared.engine.teller.listen()
    }

    /// How the cache is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::of(&self.shared.engine)
    }

    /// How many entries only one of the two halves of this process's memory knows of: what reads look into, and what
    /// decides which of them stay. While nothing is changed there are none.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn strays(&self) -> usize {
        self.shared.engine.memory.strays()
    }

    /// The cache's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.engine.name
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish()
    }
}
