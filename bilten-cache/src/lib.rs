#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

mod cache;
mod region;

mod invalidate;
mod read_through;

mod region_state;
mod registry;
mod shared;

mod tail;

mod gauges;
pub mod status;

mod coherence;
mod engine;
mod loader;
mod memory;
mod recovery;
mod single_flight;
mod tasks;
mod ticket;

mod codec;
mod entry;
mod envelope;
pub mod key;
mod pattern;
pub mod remote;

mod clock;
mod error;
mod stats;

#[cfg(feature = "test-util")]
pub mod test_util;

pub use crate::cache::{Cache, CacheBuilder};
pub use crate::error::Error;
pub use crate::invalidate::Ack;
pub use crate::key::Key;
pub use crate::loader::{LoadContext, Loaded};
pub use crate::pattern::Pattern;
pub use crate::region::{Region, RegionBuilder};
#[cfg(any(feature = "fred", feature = "redis"))]
pub use crate::remote::redis::{Redis, RedisClient};
pub use crate::stats::Stats;
