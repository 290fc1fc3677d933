//! Behaviour of health checks: one module per topic, one claim per test.

#![allow(clippy::unwrap_used)] // a test may panic; the lint itself sees only functions marked as tests

mod background;
mod bad_input;
mod changes;
#[cfg(feature = "sea-orm")]
mod database;
mod doubles;
#[cfg(feature = "axum")]
mod http;
mod life_cycle;
#[cfg(feature = "fred")]
mod redis;
mod registration;
mod sharing;
mod small_checks;
mod statuses;
mod trouble;
