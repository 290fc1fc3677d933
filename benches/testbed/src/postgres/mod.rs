//! PostgreSQL: a primary and any number of streaming replicas.

mod builder;
mod cluster;
mod launch;
mod node;
pub(crate) mod sql;
mod template;
mod wire;

pub use builder::PostgresBuilder;
pub use cluster::Postgres;
pub use node::PostgresNode;
