#![doc = include_str!("../README.md")]

pub mod shared;

#[cfg(feature = "proxy")]
mod proxy;
#[cfg(feature = "proxy")]
mod wait_async;

mod mariadb;
mod pgbouncer;
mod postgres;
mod prometheus;
mod redis;

mod sources;

mod browser;

pub mod install;

mod docker;
mod environment;
mod error;
mod machine;
mod url;
mod wait;

pub use browser::Browser;
pub use environment::{PG_REPLICA_URLS, PG_URL, REDIS_URL, SOURCE};
pub use error::Error;
pub use mariadb::{MariaDb, MariaDbBuilder, MariaDbNode};
pub use pgbouncer::PgBouncer;
pub use postgres::{Postgres, PostgresBuilder, PostgresNode};
pub use prometheus::{Prometheus, promtool};
#[cfg(feature = "proxy")]
pub use proxy::{Direction, FaultProxy};
pub use redis::{Redis, RedisBuilder, RedisCluster, RedisSentinel, TlsFiles};
pub use sources::{Origin, Service, Source, source, sources};
pub use wait::eventually;
#[cfg(feature = "proxy")]
pub use wait_async::eventually_async;
