//! Redis: one server, a Cluster, a Sentinel group.

mod builder;
mod cluster;
mod launch;
pub(crate) mod resp;
mod sentinel;
mod server;
mod tls;

pub use builder::RedisBuilder;
pub use cluster::RedisCluster;
pub use sentinel::RedisSentinel;
pub use server::Redis;
pub use tls::TlsFiles;
