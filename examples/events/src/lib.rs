//! An events-and-tickets service that embeds all four bilten crates.
//!
//! Begin with [`app`], which puts them together, then [`events::service`]. It is an example to read and to run, and a
//! library only so that its tests can reach inside.

// Nobody outside builds on these types, so they may be plain and open.
#![allow(clippy::exhaustive_structs, clippy::exhaustive_enums)]

// In the order in which a request passes through them.
pub mod config;
pub mod serve;
pub mod smoke;

pub mod app;

pub mod events;

pub mod answer;
pub mod body;
pub mod database;
pub mod redis;

pub mod schema;
pub mod seed_data;

pub mod entity;
pub mod error;
