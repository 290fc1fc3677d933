//! For tests: a second level in memory that fails, stalls and loses things on demand, and a clock that is moved by
//! hand.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bilten_cache::Cache;
//! use bilten_cache::test_util::{FaultyRemote, ManualClock};
//!
//! let (store, clock) = (FaultyRemote::new(), ManualClock::new());
//! let [one, two] = [store.clone(), store.clone()];
//! let node_one = Cache::builder("shop").remote(one).clock(&clock).build().await?;
//! let node_two = Cache::builder("shop").remote(two).build().await?;
//!
//! let region = node_one.region::<i64, u32>("stock").build()?;
//! let _ = region.set(&1, 7).await?;
//! let other = node_two.region::<i64, u32>("stock").build()?;
//! assert_eq!(other.get(&1).await.as_deref(), Some(&7));
//!
//! store.fail(true);
//! assert_eq!(*region.get_or_load(&2, async |_| Ok::<_, std::io::Error>(8)).await?, 8);
//! # Ok(()) }
//! ```

mod clock;
mod faults;
mod faulty;
mod flaw;
mod late;
mod nodes;
mod store;
mod trap;

pub use self::clock::ManualClock;
pub use self::faulty::FaultyRemote;
pub use self::late::HeldBack;
pub use self::nodes::Nodes;
pub use self::trap::{Call, Moment, Trap};
