//! Checks for the things most services depend on, each behind the feature that brings its client.

mod blocking;
#[cfg(feature = "sea-orm")]
mod database;
mod heartbeat;
#[cfg(feature = "fred")]
mod redis;
#[cfg(feature = "net")]
mod tcp;

pub use blocking::blocking;
#[cfg(feature = "sea-orm")]
pub use database::database;
pub use heartbeat::{Heartbeat, heartbeat};
#[cfg(feature = "fred")]
pub use redis::redis;
#[cfg(feature = "net")]
pub use tcp::tcp;
