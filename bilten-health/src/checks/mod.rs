//! Checks for the things most services depend on, each behind the feature that brings its client.

#[cfg(feature = "bilten-cache")]
mod cache;
#[cfg(feature = "bilten-db")]
mod cluster;
#[cfg(feature = "sea-orm")]
mod database;
#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "fred")]
mod redis;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "net")]
mod dns;
#[cfg(feature = "net")]
mod tcp;

#[cfg(feature = "net")]
mod resolve;

#[cfg(feature = "net")]
mod target;

#[cfg(feature = "sea-orm")]
mod pool;

#[cfg(feature = "sea-orm")]
mod saturation;

mod blocking;
mod heartbeat;
mod runtime_lag;

pub use blocking::blocking;
#[cfg(feature = "bilten-cache")]
pub use cache::cache;
#[cfg(feature = "bilten-db")]
pub use cluster::cluster;
#[cfg(feature = "sea-orm")]
pub use database::database;
#[cfg(feature = "disk")]
pub use disk::disk;
#[cfg(feature = "net")]
pub use dns::dns;
pub use heartbeat::{Heartbeat, heartbeat};
#[cfg(feature = "http")]
pub use http::http;
#[cfg(all(feature = "http", feature = "tls"))]
pub use http::https;
#[cfg(feature = "memory")]
pub use memory::memory;
#[cfg(feature = "fred")]
pub use redis::redis;
pub use runtime_lag::runtime_lag;
#[cfg(feature = "net")]
pub use tcp::tcp;
#[cfg(feature = "tls")]
pub use tls::tls;
