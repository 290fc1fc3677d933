//! MariaDB: a primary and any number of replicas that follow it by GTID.

mod builder;
mod client;
mod cluster;
mod launch;
mod node;
mod template;

pub use builder::MariaDbBuilder;
pub use cluster::MariaDb;
pub use node::MariaDbNode;
