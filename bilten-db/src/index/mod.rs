//! Indexes as values: made without stopping writers, checked for use, mended and found useless.
//!
//! Everything here asks the primary, so pass the cluster, or `&db.primary()` for builds that take longer than the pool's
//! `query_timeout`: that connection has none.

mod catalog;
mod ensure;
mod plan;
mod spec;
mod unused;

pub use ensure::Ensured;
pub use plan::{Plan, explain};
pub use spec::IndexSpec;
pub use unused::{IndexUse, invalid, unused};
