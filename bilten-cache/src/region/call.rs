use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Region;
use crate::error::{BoxError, Error};
use crate::invalidate::Ack;
use crate::key::Key;
use crate::loader::{LoadContext, Loaded};
use crate::manner::{Manner, Use};

/// One call that does something in another way than its region, from [`Region::call`]. May be kept and used again.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// let cache = bilten_cache::Cache::builder("shop").build().await?;
/// let prices = cache.region::<str, u32>("price").build()?;
/// prices.set("tea", 3).await?;
///
/// // A user pressed "reload": load anew, and keep it for everybody.
/// let fresh = prices.call().anew().get_or_load("tea", async |_| Ok::<_, std::io::Error>(4)).await?;
/// assert_eq!((*fresh, prices.peek("tea").as_deref()), (4, Some(&4)));
///
/// // A batch job reads a million keys once each: leave the memory to those who come back.
/// let once = prices.call().skip_memory_write().time_to_live(Duration::from_secs(5));
/// once.get_or_load("milk", async |_| Ok::<_, std::io::Error>(1)).await?;
/// assert_eq!(prices.peek("milk"), None);
/// # Ok(()) }
/// ```
#[must_use = "these are only the options; the call follows"]
pub struct Call<'r, K: ?Sized, V> {
    region: &'r Region<K, V>,
    manner: Manner,
}

impl<'r, K: Key + ?Sized, V: Send + Sync + 'static> Call<'r, K, V> {
    pub(super) fn new(region: &'r Region<K, V>) -> Self {
        let manner = Manner::default();
        Self { region, manner }
    }

    fn without(self, uses: &[Use]) -> Self {
        let manner = self.manner.without(uses);
        Self { manner, ..self }
    }

    /// Takes no value from this process's memory.
    pub fn skip_memory_read(self) -> Self {
        self.without(&[Use::MemoryRead])
    }

    /// Puts no value into this process's memory. What is there of the key is removed by a `set`, and stays after a load.
    pub fn skip_memory_write(self) -> Self {
        self.without(&[Use::MemoryWrite])
    }

    /// Takes no value from the second level.
    pub fn skip_remote_read(self) -> Self {
        self.without(&[Use::RemoteRead])
    }

    /// Stores nothing in the second level, and takes no lease of it. A `set` still removes what is there and tells other processes: what they have is
    /// old.
    pub fn skip_remote_write(self) -> Self {
        self.without(&[Use::RemoteWrite])
    }

    /// Loads anew whatever is in the cache, and waits for no load that has begun before. The result is kept, unless the key changes
    /// meanwhile; while another load holds the lease of the key, it is kept in this process only.
    pub fn anew(self) -> Self {
        self.without(&[Use::MemoryRead, Use::RemoteRead])
    }

    /// How long a value is fresh that this call loads or sets, if its own [`Loaded::time_to_live`] does not say. Zero keeps it nowhere.
    pub fn time_to_live(mut self, time_to_live: Duration) -> Self {
        self.manner.time_to_live = Some(time_to_live);
        self
    }

    /// [`Region::get`].
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is changed.
    pub async fn get(&self, key: &K) -> Option<Arc<V>> {
        self.region.get_in(key, self.manner).await
    }

    /// [`Region::get_or_load`]. A call that keeps its value in fewer places than others loads for itself alone: the loader runs
    /// once for each such call. One that takes no value from a level shares its load with those who come later.
    ///
    /// # Errors
    ///
    /// Those of [`Region::get_or_load`].
    ///
    /// # Cancellation
    ///
    /// A load that has begun goes on.
    pub async fn get_or_load<T, E, F, Fut>(&self, key: &K, load: F) -> Result<Arc<V>, Error>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>> + Send + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        self.region.load_in(key, self.manner, load).await
    }

    /// [`Region::set`].
    ///
    /// # Errors
    ///
    /// Those of [`Region::set`].
    ///
    /// # Cancellation
    ///
    /// Once polled, the change is made even if the caller is dropped.
    pub async fn set(&self, key: &K, value: impl Into<Loaded<V>>) -> Result<Ack, Error> {
        let key = self.region.changeable(key)?;
        let put = self.region.put(key, value.into(), self.manner);
        put.await.map(|(_, ack)| ack)
    }
}

impl<K: ?Sized, V> fmt::Debug for Call<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("manner", &self.manner)
            .finish_non_exhaustive()
    }
}
