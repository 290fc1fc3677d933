#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(all(feature = "axum", feature = "prometheus", feature = "sea-orm"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "axum", feature = "prometheus", feature = "sea-orm")),
    doc = "Times what a service does: query monitors, an HTTP layer, slow alerts and Prometheus."
)]

mod builder;
#[cfg(feature = "http")]
pub mod http;
pub mod metric;
#[cfg(feature = "runtime")]
mod runtime;
mod scope;

mod monitor;
#[cfg(feature = "sea-orm")]
pub mod observe;
#[cfg(feature = "prometheus")]
pub mod prometheus;

#[cfg(feature = "dashboard")]
pub mod dashboard;

mod family;
pub mod query;

pub mod alert;
mod budget;
mod hub;
mod in_flight;
mod limits;
mod outbox;
mod recorded;
mod sample;
mod tally;
mod watchdog;

mod clock;
mod context;
mod counter;
mod error;
mod label;
mod lasting;
mod names;
mod nanos;
mod outcome;
mod registry;
mod repeats;
mod slots;
mod statement;
pub mod stats;
mod table;

pub use builder::MonitorBuilder;
pub use clock::Clock;
pub use context::RequestContext;
pub use error::Error;
pub use monitor::Monitor;
pub use names::Naming;
pub use outcome::Outcome;
pub use scope::Scoped;
pub use tally::Losses;
