//! Behaviour of health checks: one module per topic, one claim per test.

#![allow(clippy::unwrap_used)] // a test may panic; the lint itself sees only functions marked as tests

mod background;
mod bad_input;
#[cfg(feature = "bilten-cache")]
mod cache;
#[cfg(all(feature = "http", feature = "tls"))]
mod certified;
mod changes;
#[cfg(all(feature = "axum", feature = "http"))]
mod circle;
#[cfg(feature = "bilten-db")]
mod cluster;
#[cfg(feature = "sea-orm")]
mod database;
#[cfg(feature = "axum")]
mod details;
mod doubles;
#[cfg(feature = "axum")]
mod draining;
#[cfg(feature = "tonic")]
mod grpc;
#[cfg(feature = "axum")]
mod http;
#[cfg(all(feature = "axum", feature = "http"))]
mod http_check;
#[cfg(all(feature = "axum", feature = "http", feature = "tls"))]
mod https_check;
mod life_cycle;
mod load;
#[cfg(feature = "axum")]
mod manifests;
#[cfg(feature = "mysql")]
mod mariadb;
#[cfg(all(feature = "axum", feature = "metrics"))]
mod metrics;
#[cfg(any(
    feature = "bilten-cache",
    feature = "bilten-db",
    feature = "fred",
    feature = "sea-orm"
))]
mod polling;
#[cfg(any(feature = "http", feature = "net"))]
mod port;
#[cfg(feature = "fred")]
mod redis;
mod registration;
mod secrets;
mod sharing;
mod small_checks;
mod statuses;
#[cfg(all(feature = "http", feature = "tls"))]
mod tls_check;
mod trouble;
