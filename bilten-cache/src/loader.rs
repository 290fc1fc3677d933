use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Validators;
use crate::error::BoxError;
use crate::kept::Kept;
use crate::remote::Demand;

/// What a loader found: the value, and what it decided about it.
///
/// A loader may return the plain value instead; then the region decides.
///
/// ```
/// use std::time::Duration;
/// use bilten_cache::Loaded;
///
/// let loaded = Loaded::new("Berlin").tags(["city:berlin"]).time_to_live(Duration::from_secs(5));
/// let for_one_caller_only = Loaded::new("error page").uncached();
/// # let _ = (loaded, for_one_caller_only);
/// ```
#[derive(Debug, Clone)]
pub struct Loaded<V> {
    pub(crate) value: Arc<V>,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) validators: Validators,
    /// An old value that lives on.
    pub(crate) extended: bool,
    pub(crate) cached: bool,
    /// Whether that is because of its tags.
    pub(crate) over_tagged: bool,
    pub(crate) after: Option<Demand>,
}

/// The longest tag, and the most tags on one entry; what goes beyond is cut off the entry's life, see
/// [`Loaded::tags`].
pub(crate) const MAX_TAG_BYTES: usize = 256;
pub(crate) const MAX_TAGS: usize = 64;

impl<V> Loaded<V> {
    /// A value with the region's defaults.
    #[must_use]
    pub fn new(value: V) -> Self {
        Self::shared(Arc::new(value))
    }

    /// A value that somebody else keeps as well.
    #[must_use]
    pub fn shared(value: Arc<V>) -> Self {
        Self {
            value,
            tags: Vec::new(),
            time_to_live: None,
            validators: Validators::default(),
            extended: false,
            cached: true,
            over_tagged: false,
            after: None,
        }
    }

    /// Tags by which [`Cache::invalidate_tag`](crate::Cache::invalidate_tag) finds the entry.
    ///
    /// An entry carries at most 64 tags of at most 256 bytes. One that has more is not cached, because it could
    /// not be invalidated by the rest: it is counted as [`tags_refused`](crate::Stats::tags_refused), and the first one is told in a warning.
    #[must_use]
    pub fn tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags
            .extend(tags.into_iter().take(MAX_TAGS + 1).map(Into::into));
        let fit =
            self.tags.len() <= MAX_TAGS && self.tags.iter().all(|tag| tag.len() <= MAX_TAG_BYTES);
        self.over_tagged |= !fit;
        self.cached &= fit;
        self
    }

    /// How long this value is fresh, instead of the region's time to live; ten years at most. Zero means not
    /// cached.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.cached &= !time_to_live.is_zero();
        self.time_to_live = Some(time_to_live);
        self
    }

    /// The version that the source gave this value, for the next load to ask with: [`Stale::etag`]. Opaque to the cache; an
    /// empty one and one above 1 KiB are not kept.
    #[must_use]
    pub fn etag(mut self, etag: impl Into<Arc<str>>) -> Self {
        self.validators.etag = Some(etag.into());
        self
    }

    /// When the source says that this value changed last, for the next load to ask with: [`Stale::last_modified`]. Opaque
    /// to the cache; an empty one and one above 1 KiB are not kept.
    #[must_use]
    pub fn last_modified(mut self, last_modified: impl Into<Arc<str>>) -> Self {
        self.validators.last_modified = Some(last_modified.into());
        self
    }

    /// For values that were just written: the source token of the write, which later loads must reflect. See
    /// [`Region::after`](crate::Region::after). On a value that was loaded it means nothing.
    #[must_use]
    pub fn after(mut self, token: impl AsRef<[u8]>) -> Self {
        self.after = Some(Demand::of(token));
        self
    }

    /// Hands the value to those who wait for it and keeps it nowhere.
    #[must_use]
    pub fn uncached(mut self) -> Self {
        self.cached = false;
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// A loader whose types are forgotten, so that the long way around a load is compiled once for each type of value, and takes
/// no room for the loader at every step.
pub(crate) type Load<V> = Box<dyn FnOnce(LoadContext<V>) -> Answer<V> + Send>;
type Answer<V> = Pin<Box<dyn Future<Output = Result<Loaded<V>, BoxError>> + Send>>;

/// The loader is called inside of its future, so that a panic before its first await is one of the future, and so is that of a
/// conversion.
pub(crate) fn erased<V, T, E, F, Fut>(load: F) -> Load<V>
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>> + Send + 'static,
    E: Into<BoxError> + Send + 'static,
{
    Box::new(move |context| {
        Box::pin(async move { load(context).await.map(Into::into).map_err(Into::into) })
    })
}

/// What a loader can ask about its call.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use bilten_cache::{Cache, Loaded};
///
/// # async fn fetch(_: Option<&str>) -> std::io::Result<Option<(String, String)>> { Ok(Some(("hello".into(), "v1".into()))) }
/// let cache = Cache::builder("shop").build().await?;
/// let pages = cache.region::<str, String>("page").revalidate_within(Duration::from_secs(3600)).build()?;
/// let page = pages.get_or_load("home", async |cx| {
///     let stale = cx.stale();
///     match (fetch(stale.and_then(|stale| stale.etag())).await?, stale) {
///         (Some((page, etag)), _) => Ok(Loaded::new(page).etag(etag)),
///         (None, Some(stale)) => Ok(stale.not_modified()),
///         (None, None) => Err(std::io::Error::other("not modified, but nothing was asked")),
///     }
/// }).await?;
/// assert_eq!(*page, "hello");
/// # Ok(()) }
/// ```
#[non_exhaustive]
pub struct LoadContext<V> {
    deadline: Instant,
    stale: Option<Stale<V>>,
    at_least: Option<Demand>,
}

impl<V> LoadContext<V> {
    pub(crate) fn new(
        deadline: Instant,
        stale: Option<Stale<V>>,
        at_least: Option<Demand>,
    ) -> Self {
        Self {
            deadline,
            stale,
            at_least,
        }
    }

    /// The token of the state that the source must have reached for this load: what the furthest of the changes named with
    /// [`Region::after`](crate::Region::after) that concern the key. A loader that reads a replica which has not come so far puts the old
    /// value back.
    ///
    /// `None`: any state will do. Empty: only the newest one will, because several tokens do not compare or had to be forgotten; ask
    /// the primary. A loader of many keys asks [`source::at_least`](crate::source::at_least).
    #[must_use]
    pub fn at_least(&self) -> Option<&[u8]> {
        self.at_least.as_ref().map(Demand::as_bytes)
    }

    /// The time left before the load is given up, for the loader's own time limits.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn demand(self) -> Option<Demand> {
        self.at_least
    }

    /// The value whose time is over, if this process or the second level still has it: see
    /// [`RegionBuilder::revalidate_within`](crate::RegionBuilder::revalidate_within).
    #[must_use]
    pub fn stale(&self) -> Option<&Stale<V>> {
        self.stale.as_ref()
    }
}

impl<V> Clone for LoadContext<V> {
    fn clone(&self) -> Self {
        Self::new(self.deadline, self.stale.clone(), self.at_least.clone())
    }
}

impl<V> fmt::Debug for LoadContext<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("remaining", &self.remaining())
            .field("stale", &self.stale.is_some())
            .field("at_least", &self.at_least)
            .finish()
    }
}

/// A value that is kept beyond its time, as a loader sees it. There is an example at [`LoadContext`].
pub struct Stale<V> {
    value: Arc<V>,
    entry: Kept,
}

impl<V: Send + Sync + 'static> Stale<V> {
    pub(crate) fn of(entry: &Kept) -> Option<Self> {
        Some(Self {
            value: entry.value()?,
            entry: entry.clone(),
        })
    }
}

impl<V> Stale<V> {
    /// The value.
    #[must_use]
    pub fn value(&self) -> &Arc<V> {
        &self.value
    }

    /// What [`Loaded::etag`] was told when the value was loaded.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.entry.validators()?.etag.as_deref()
    }

    /// What [`Loaded::last_modified`] was told when the value was loaded.
    #[must_use]
    pub fn last_modified(&self) -> Option<&str> {
        self.entry.validators()?.last_modified.as_deref()
    }

    /// The answer of a loader whose source says that the value is still good: it lives for another time to live, with
    /// the tags and validators that it had.
    #[must_use]
    pub fn not_modified(&self) -> Loaded<V> {
        Loaded {
            tags: self.entry.tags().to_vec(),
            validators: self.entry.validators().cloned().unwrap_or_default(),
            extended: true,
            ..Loaded::shared(Arc::clone(&self.value))
        }
    }
}

impl<V> Clone for Stale<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            entry: self.entry.clone(),
        }
    }
}

impl<V> fmt::Debug for Stale<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stale")
            .field("etag", &self.etag())
            .field("last_modified", &self.last_modified())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_invalidated_by_all_its_tags_is_not_cached() {
        assert!(Loaded::new(1).tags((0..64).map(|n| n.to_string())).cached);
        assert!(!Loaded::new(1).tags((0..65).map(|n| n.to_string())).cached);
        assert!(!Loaded::new(1).tags(["x".repeat(257)]).cached);
        assert!(!Loaded::new(1).time_to_live(Duration::ZERO).cached);
    }
}
