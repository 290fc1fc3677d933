//! The testbed against real servers.

mod postgres;
#[cfg(feature = "proxy")]
mod proxy;
mod redis;
mod shared;
