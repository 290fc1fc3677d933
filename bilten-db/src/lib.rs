#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

// In the order in which a call passes through them; imports only point down.
mod builder;

mod contact;
mod sea_traits;
mod watch;

mod cluster;
mod session;

pub mod page;

mod router;

mod blueprint;
mod fallback;
mod replica;
mod roster;
mod routing;
pub mod scope;

mod election;
mod failover;
mod keep;
mod node;

mod call;
mod health;
mod lag;
mod latency;
mod route;
mod token;

mod balance;

mod driver;

mod fault;

pub mod access;
mod learned;

mod address;
mod metrics;
mod pool_config;
pub mod status;

mod error;

pub use balance::Balance;
pub use builder::ClusterBuilder;
pub use cluster::Cluster;
pub use error::Error;
pub use fallback::Fallback;
pub use page::{Page, PageExt, PageRequest};
pub use pool_config::PoolConfig;
pub use replica::Replica;
pub use routing::ReadRouting;
pub use session::Session;
pub use token::Token;

pub use sea_orm;
