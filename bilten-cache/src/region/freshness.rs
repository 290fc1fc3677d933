//! The settings of a region that say what happens around the end of a time to live.

use std::time::Duration;

use super::RegionBuilder;
use crate::key::Key;
use crate::staleness::RefreshAhead;

/// # Staleness
///
/// Without these, a value is gone when its time to live is over, and somebody waits for the next load.
/// The two windows are those of RFC 5861: each begins at the end of the time to live. A value that was removed or invalidated
/// is never served stale; one that was [expired](crate::Region::expire) is, and for it too the windows end so long after the end of the time
/// to live that it was stored with.
impl<K: Key + ?Sized, V: Send + Sync + 'static> RegionBuilder<K, V> {
    /// How long after its time to live a value is served at once while one load runs behind it. Defaults to zero:
    /// the reader waits for the load.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.options.windows.while_revalidate = window;
        self
    }

    /// How long after its time to live a value stands in for a load that fails, panics or takes too long. Defaults to
    /// zero: the reader gets the error.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.options.windows.if_error = window;
        self
    }

    /// How long after its time to live a value is kept for [`LoadContext::stale`](crate::LoadContext::stale), so that a loader can
    /// ask its source whether it is still good. Defaults to zero; the windows for serving count as well.
    pub fn revalidate_within(mut self, window: Duration) -> Self {
        self.options.windows.for_loader = window;
        self
    }

    /// How long a load that failed is not tried again while there is a stale value to serve. Defaults to 5 s.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.options.retry_after = pause;
        self
    }

    /// How long a reader waits for a load when there is a stale value within
    /// [`stale_if_error`](Self::stale_if_error). The load goes on and its result is kept. Defaults to no limit; zero serves
    /// the stale value at once.
    pub fn soft_timeout(mut self, patience: Duration) -> Self {
        self.options.soft_timeout = Some(patience);
        self
    }

    /// How much longer than [`load_timeout`](Self::load_timeout) a load may run when nobody waits for it any more, so that its result
    /// is kept for later readers. Defaults to zero: the load is dropped.
    pub fn late_results(mut self, longer: Duration) -> Self {
        self.options.late_results = longer;
        self
    }

    /// Loads a value anew at the first [`get_or_load`](crate::Region::get_or_load) after this fraction of its time to live, so that
    /// nobody waits for a key that is read often. Above 0 and below 1, for example 0.8. Replaces
    /// [`refresh_early`](Self::refresh_early). Off by default.
    pub fn refresh_ahead(mut self, fraction: f64) -> Self {
        self.options.ahead = RefreshAhead::Fraction(fraction);
        self
    }

    /// Loads a value anew at a random moment before its end, the earlier the longer its load took: XFetch, so that of
    /// many processes one is usually first. 1.0 is the usual factor, more is earlier. Replaces
    /// [`refresh_ahead`](Self::refresh_ahead). Off by default.
    ///
    /// Source: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015.
    pub fn refresh_early(mut self, beta: f64) -> Self {
        self.options.ahead = RefreshAhead::Early { beta };
        self
    }
}

/// # Values that are not there
///
/// A region of `Option<T>` remembers that a thing does not exist: `get` answers `Some(None)` for that, and `None` when
/// the cache does not know.
impl<K: Key + ?Sized, T: Send + Sync + 'static> RegionBuilder<K, Option<T>> {
    /// How long a `None` is fresh. Defaults to the time to live.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let cache = bilten_cache::Cache::builder("shop").build().await?;
    /// let users = cache
    ///     .region::<i64, Option<String>>("user")
    ///     .negative_time_to_live(Duration::from_secs(5))
    ///     .build()?;
    /// let nobody = users.get_or_load(&7, async |_| Ok::<_, std::io::Error>(None)).await?;
    /// assert_eq!(*nobody, None);
    /// assert_eq!(users.get(&7).await.as_deref(), Some(&None)); // known not to exist
    /// assert_eq!(users.get(&8).await, None); // not known
    /// # Ok(()) }
    /// ```
    pub fn negative_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.options.negative_time_to_live = Some(time_to_live);
        self.is_negative = Some(Option::is_none);
        self
    }
}
