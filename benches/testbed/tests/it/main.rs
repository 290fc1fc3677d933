//! The testbed against real servers.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "docker")]
mod docker;
mod leftovers;
mod mariadb;
mod postgres;
mod prometheus;
#[cfg(feature = "proxy")]
mod proxy;
mod redis;
mod redis_groups;
mod shared;
