//! Redis: one server, a Cluster, a Sentinel group.

mod builder;
pub(crate) mod resp;
mod server;

pub use builder::RedisBuilder;
pub use server::Redis;
pub(crate) use server::program;
