//! A real Prometheus, and its checking tool.

mod http;
mod server;
mod tool;

pub use server::Prometheus;
pub use tool::promtool;
