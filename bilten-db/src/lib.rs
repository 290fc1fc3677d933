#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

// In the order in which a call passes through them; imports only point down.
mod cluster;

mod builder;
pub mod page;

mod router;

mod watch;

pub mod scope;

mod failover;
mod node;

mod call;
mod health;
mod route;

mod driver;

mod fault;

pub mod access;
mod learned;

mod address;
mod metrics;
mod pool_config;
pub mod status;

mod error;

pub use builder::ClusterBuilder;
pub use cluster::Cluster;
pub use error::Error;
pub use page::{Page, PageExt, PageRequest};
pub use pool_config::PoolConfig;
pub use router::Fallback;

pub use sea_orm;
