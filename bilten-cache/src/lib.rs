#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

#[cfg(feature = "http")]
pub mod http;

mod cache;
pub mod call;
#[cfg(feature = "config")]
pub mod config;
mod region;
pub mod source;

mod read_through;
mod writing;

mod bulk;
mod invalidate;

mod batch;
mod explain;
mod flight;
mod in_vain;
mod instead;
mod leased;
mod lookup;
mod waiting;

mod packing;
mod region_state;
mod registry;
mod shared;

mod ageing;
mod sweep;
mod tail;

mod gauges;
pub mod status;

mod admission;
mod coherence;
mod engine;
mod job;
mod loader;
mod manner;
mod memory;
mod outlook;
mod reading;
mod recovery;
mod running;
mod single_flight;
mod tasks;
mod ticket;
mod turns;
mod writes;

mod codec;
mod kept;

mod entry;
mod envelope;
pub mod events;
pub mod key;
mod options;
mod pattern;
pub mod remote;

mod clock;
mod error;
mod spans;
mod staleness;
mod stats;

#[cfg(feature = "test-util")]
pub mod test_util;

#[cfg(all(test, feature = "json", feature = "messagepack", feature = "zstd"))]
mod fuzz;

pub use crate::cache::{Cache, CacheBuilder};
pub use crate::error::Error;
pub use crate::invalidate::Ack;
pub use crate::key::Key;
pub use crate::loader::{LoadContext, Loaded, Stale};
pub use crate::pattern::Pattern;
pub use crate::region::{Region, RegionBuilder};
#[cfg(any(feature = "fred", feature = "redis"))]
pub use crate::remote::redis::{Redis, RedisClient};
pub use crate::stats::Stats;
