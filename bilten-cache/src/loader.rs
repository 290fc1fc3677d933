use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use crate::error::{BoxError, Error};

tokio::task_local! {
    /// The keys that the loads around this one are loading, innermost first.
    static LOADING: Option<Arc<Chain>>;
}

#[derive(Debug)]
struct Chain {
    cache: u64,
    key: Arc<str>,
    around: Option<Arc<Self>>,
}

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
    pub(crate) cached: bool,
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
            cached: true,
        }
    }

    /// Tags by which [`Cache::invalidate_tag`](crate::Cache::invalidate_tag) finds the entry.
    ///
    /// An entry carries at most 64 tags of at most 256 bytes. One that has more is not cached, because it could
    /// not be invalidated by the rest.
    #[must_use]
    pub fn tags<T: Into<Arc<str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags
            .extend(tags.into_iter().take(MAX_TAGS + 1).map(Into::into));
        self.cached &=
            self.tags.len() <= MAX_TAGS && self.tags.iter().all(|tag| tag.len() <= MAX_TAG_BYTES);
        self
    }

    /// How long this value is fresh, instead of the region's time to live. Zero means not cached.
    #[must_use]
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.cached &= !time_to_live.is_zero();
        self.time_to_live = Some(time_to_live);
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

/// What a loader can ask about its call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadContext {
    deadline: Instant,
}

impl LoadContext {
    /// The time left before the load is given up, for the loader's own time limits.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// One load: whose it is and how long it may take.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) cache: u64,
    pub(crate) region: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) timeout: Duration,
    around: Option<Arc<Chain>>,
}

impl Job {
    /// A load that the current task asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Recursive`] when the current task is itself loading this key, and would wait for itself.
    pub(crate) fn new(
        cache: u64,
        region: &Arc<str>,
        key: &Arc<str>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let around = LOADING.try_with(Clone::clone).unwrap_or_default();
        let mut outer = around.as_ref();
        while let Some(chain) = outer {
            if chain.cache == cache && chain.key == *key {
                return Err(Error::Recursive {
                    region: Arc::clone(region),
                });
            }
            outer = chain.around.as_ref();
        }
        Ok(Self {
            cache,
            region: Arc::clone(region),
            key: Arc::clone(key),
            timeout,
            around,
        })
    }

    /// Runs the loader to its end, its panic or its time limit.
    pub(crate) async fn run<V, T, E, F, Fut>(&self, load: F) -> Result<Loaded<V>, Error>
    where
        F: FnOnce(LoadContext) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        T: Into<Loaded<V>>,
        E: Into<BoxError>,
    {
        let chain = Chain {
            cache: self.cache,
            key: Arc::clone(&self.key),
            around: self.around.clone(),
        };
        let context = LoadContext {
            deadline: Instant::now() + self.timeout.min(Duration::from_secs(1 << 30)),
        };
        // The loader is called inside, so that a panic before its first await is caught as well.
        let load = async move { load(context).await };
        let load = LOADING.scope(Some(Arc::new(chain)), AssertUnwindSafe(load).catch_unwind());
        let region = || Arc::clone(&self.region);
        match tokio::time::timeout(self.timeout, load).await {
            Err(_) => Err(Error::LoadTimeout {
                region: region(),
                after: self.timeout,
            }),
            Ok(Err(panic)) => Err(Error::LoadPanicked {
                region: region(),
                message: message(&*panic),
            }),
            Ok(Ok(Err(error))) => Err(Error::Load {
                region: region(),
                source: Arc::from(error.into()),
            }),
            Ok(Ok(Ok(value))) => Ok(value.into()),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(timeout: Duration) -> Job {
        Job::new(1, &"event".into(), &"event:1".into(), timeout).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loader_that_never_returns_is_given_up() {
        let limit = Duration::from_secs(3);
        let never = job(limit)
            .run::<u8, u8, BoxError, _, _>(|_| std::future::pending())
            .await;
        assert!(matches!(never, Err(Error::LoadTimeout { after, .. }) if after == limit));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_wherever_it_happens() {
        let job = job(Duration::MAX);
        let at_once = job.run::<u8, u8, BoxError, _, std::future::Ready<_>>(|_| panic!("at once"));
        assert!(at_once.await.unwrap_err().to_string().ends_with("at once"));
        let late = job.run::<u8, u8, BoxError, _, _>(|_| async {
            tokio::task::yield_now().await;
            panic!("{}", "late")
        });
        assert!(late.await.unwrap_err().to_string().ends_with("late"));
    }

    #[tokio::test]
    async fn a_key_inside_its_own_load_is_recursion_and_another_is_not() {
        let job = job(Duration::MAX);
        let nested = job.run::<u8, u8, BoxError, _, _>(|_| async {
            assert!(Job::new(1, &"event".into(), &"event:2".into(), Duration::MAX).is_ok());
            assert!(Job::new(2, &"event".into(), &"event:1".into(), Duration::MAX).is_ok());
            Job::new(1, &"event".into(), &"event:1".into(), Duration::MAX)?;
            Ok(1)
        });
        let error = nested.await.unwrap_err();
        assert!(matches!(
            error.source_as::<Error>(),
            Some(Error::Recursive { .. })
        ));
    }

    #[test]
    fn what_cannot_be_invalidated_by_all_its_tags_is_not_cached() {
        assert!(Loaded::new(1).tags((0..64).map(|n| n.to_string())).cached);
        assert!(!Loaded::new(1).tags((0..65).map(|n| n.to_string())).cached);
        assert!(!Loaded::new(1).tags(["x".repeat(257)]).cached);
        assert!(!Loaded::new(1).time_to_live(Duration::ZERO).cached);
    }
}
