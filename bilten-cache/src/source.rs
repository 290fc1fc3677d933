//! Loaders that read replicas: tokens by which a source names its states.
//!
//! A replica that lags behind can put an old row back into the cache after its removal. Whoever removes it may therefore say which state of
//! the source a load must reflect from then on; the token goes with the change to every process, and comes out in the context of the next
//! load. Tokens are bytes to the cache: [`CacheBuilder::source_order`](crate::CacheBuilder::source_order) says how they compare.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bilten_cache::Cache;
//!
//! # async fn write() -> std::io::Result<String> { Ok("00017".to_owned()) }
//! # async fn read(_: Option<&[u8]>) -> std::io::Result<u32> { Ok(3) }
//! // Positions of one length compare as text.
//! let cache = Cache::builder("shop").source_order(|a, b| Some(a.cmp(b))).build().await?;
//! let stock = cache.region::<str, u32>("stock").build()?;
//!
//! let position = write().await?;
//! let _ = stock.after(&position).remove("tea").await?;
//!
//! stock.get_or_load("tea", async |cx| {
//!     assert_eq!(cx.at_least(), Some(&b"00017"[..]));
//!     read(cx.at_least()).await // from a replica that has come so far, or from the primary
//! }).await?;
//! # Ok(()) }
//! ```

pub use crate::cache::CacheAfter;
use crate::job;
pub use crate::region::After;

/// What [`LoadContext::at_least`](crate::LoadContext::at_least) says, for code that the context does not reach: a loader of many keys, or
/// what lies below a loader. For many keys it is the furthest of them all. `None` outside of a loader, and in tasks that it spawns.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::{Cache, source};
///
/// let cache = Cache::builder("shop").build().await?;
/// let stock = cache.region::<i64, u32>("stock").build()?;
/// let _ = stock.after("17").remove(&2).await?;
/// stock.get_or_load_many([1, 2], |missing| async move {
///     assert_eq!(source::at_least().as_deref(), Some(&b"17"[..]));
///     Ok::<_, std::io::Error>(missing.into_iter().map(|id| (id, 3)).collect::<Vec<_>>())
/// }).await?;
/// assert_eq!(source::at_least(), None);
/// # Ok(()) }
/// ```
#[must_use]
pub fn at_least() -> Option<Vec<u8>> {
    job::at_least().map(|demand| demand.as_bytes().to_vec())
}
