//! An events-and-tickets service that embeds all four bilten crates.
//!
//! It is an example to read and to run, and a library only so that its tests can reach inside.

// Nobody outside builds on these types, so they may be plain and open.
#![allow(clippy::exhaustive_structs, clippy::exhaustive_enums)]

pub mod body;
pub mod config;
pub mod database;
pub mod entity;
pub mod error;
pub mod events;
pub mod schema;
pub mod seed_data;
pub mod serve;
pub mod smoke;
pub mod tickets;
