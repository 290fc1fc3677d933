#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

#[cfg(feature = "axum")]
pub mod routes;

#[cfg(feature = "tonic")]
pub mod grpc;

pub mod checks;
pub mod shutdown;
pub mod watch;

mod builder;
mod health;
mod runner;

mod life;
mod registry;
mod requests;
mod slot;

pub mod change;
mod check;
mod format;
mod history;

mod answer;

pub mod aggregate;
mod bystander;
mod error;
mod group;
#[cfg(any(feature = "axum", feature = "http", feature = "tonic"))]
pub mod hop;
mod report;
mod said;

#[cfg(feature = "metrics")]
mod measured;
#[cfg(not(feature = "metrics"))]
#[path = "not_measured.rs"]
mod measured;
mod redact;
mod thread;

mod caught;
mod status;

pub use builder::HealthBuilder;
pub use check::{Check, CheckBuilder, CheckContext, IntoVerdict, Verdict, check};
pub use error::BuildError;
pub use group::Group;
pub use health::Health;
pub use report::{CheckReport, Reason, Report};
pub use status::Status;
