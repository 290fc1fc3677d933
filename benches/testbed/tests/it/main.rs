//! The testbed against real servers.

mod leftovers;
mod postgres;
#[cfg(feature = "proxy")]
mod proxy;
mod redis;
mod shared;
