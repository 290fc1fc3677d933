use std::borrow::Borrow;
use std::fmt;

use super::Region;
use crate::error::Error;
use crate::invalidate::{self, Ack};
use crate::key::Key;
use crate::loader::Loaded;
use crate::remote::Demand;

/// Changes after which loads must reflect a state of the source, from [`Region::after`]. Each does what the method of [`Region`] with its name
/// does. For `write_through`, put the token on the value with [`Loaded::after`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = bilten_cache::Cache::builder("shop").build().await?;
/// let stock = cache.region::<str, u32>("stock").build()?;
/// let at = stock.after("16/B374D848");
/// let _ = at.set("tea", 3).await?;
/// let _ = at.remove("milk").await?;
/// # Ok(()) }
/// ```
#[must_use = "this is only the token; the change follows"]
pub struct After<'r, K: ?Sized, V> {
    region: &'r Region<K, V>,
    demand: Demand,
}

impl<'r, K: Key + ?Sized, V: Send + Sync + 'static> After<'r, K, V> {
    pub(super) fn new(region: &'r Region<K, V>, demand: Demand) -> Self {
        Self { region, demand }
    }

    /// [`Region::set`].
    ///
    /// # Errors
    ///
    /// Those of [`Region::set`].
    pub async fn set(&self, key: &K, value: impl Into<Loaded<V>>) -> Result<Ack, Error> {
        let loaded = Loaded {
            after: Some(self.demand.clone()),
            ..value.into()
        };
        self.region.set(key, loaded).await
    }

    /// [`Region::remove`].
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`].
    pub async fn remove(&self, key: &K) -> Result<Ack, Error> {
        let key = self.region.changeable(key)?;
        Ok(self
            .region
            .remove_encoded(key, Some(self.demand.clone()))
            .await)
    }

    /// [`Region::remove_many`].
    ///
    /// # Errors
    ///
    /// Those of [`Region::remove_many`].
    pub async fn remove_many<O: Borrow<K>>(
        &self,
        keys: impl IntoIterator<Item = O>,
    ) -> Result<Ack, Error> {
        self.region.remove_all(keys, &self.demand).await
    }

    /// [`Region::expire`].
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`].
    pub async fn expire(&self, key: &K) -> Result<Ack, Error> {
        let scope = self.region.expiry(key)?;
        let (engine, after) = (&self.region.state.engine, self.demand.clone());
        Ok(invalidate::invalidate_after(engine, scope, Some(after)).await)
    }

    /// [`Region::clear`].
    pub async fn clear(&self) -> Ack {
        if self.region.state.is_read_only() {
            return Ack::ReadOnly;
        }
        let scope = self.region.everything();
        let (engine, after) = (&self.region.state.engine, self.demand.clone());
        invalidate::invalidate_after(engine, scope, Some(after)).await
    }
}

impl<K: ?Sized, V> fmt::Debug for After<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("After")
            .field("demand", &self.demand)
            .finish_non_exhaustive()
    }
}
