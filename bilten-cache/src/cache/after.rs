use std::sync::Arc;

use super::Cache;
use crate::invalidate::{self, Ack};
use crate::pattern::Pattern;
use crate::remote::{Demand, Scope};

/// Invalidations after which loads must reflect a state of the source, from [`Cache::after`]. Each does what the method of [`Cache`] with its name
/// does.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::{Cache, Pattern};
///
/// let cache = Cache::builder("shop").build().await?;
/// let _ = cache.after("16/B374D848").invalidate_pattern(&Pattern::prefix("event:")).await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "this is only the token; the change follows"]
pub struct CacheAfter<'c> {
    cache: &'c Cache,
    demand: Demand,
}

impl<'c> CacheAfter<'c> {
    pub(super) fn new(cache: &'c Cache, demand: Demand) -> Self {
        Self { cache, demand }
    }

    /// [`Cache::invalidate_pattern`].
    pub async fn invalidate_pattern(&self, pattern: &Pattern) -> Ack {
        let after = Some(self.demand.clone());
        self.cache.invalidate_pattern_after(pattern, after).await
    }

    /// [`Cache::invalidate_tag`].
    pub async fn invalidate_tag(&self, tag: &str) -> Ack {
        let after = Some(self.demand.clone());
        self.cache.invalidate_tag_after(tag, after).await
    }

    /// [`Cache::invalidate_all_of_tags`].
    pub async fn invalidate_all_of_tags<T: Into<Arc<str>>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Ack {
        let after = Some(self.demand.clone());
        let scope = Scope::all_of(tags);
        self.cache.invalidate_all_of_tags_after(scope, after).await
    }

    /// [`Cache::clear`].
    pub async fn clear(&self) -> Ack {
        let (engine, after) = (&self.cache.shared.engine, self.demand.clone());
        invalidate::invalidate_after(engine, Scope::All, Some(after)).await
    }
}
