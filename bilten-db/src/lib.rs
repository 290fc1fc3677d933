#![cfg_attr(docsrs, feature(doc_cfg))]
#![doc = include_str!("../README.md")]

// In the order in which a call passes through them; imports only point down.
mod builder;

#[cfg(feature = "http")]
pub mod http;

mod scout;

mod operations;
mod sea_traits;

mod cluster;
mod crew;
mod session;

mod contact;
mod watch;

pub mod index;
pub mod page;

mod snapshot;

mod router;

mod policy;
mod roster;
mod routing;
pub mod scope;

mod blueprint;
mod deadline;
pub mod discovery;
mod fallback;
mod replica;

mod asking;
mod election;
mod failover;
mod keep;
mod node;

mod attempt;
mod call;
mod freshness;
mod health;
mod identity;
mod latency;
mod past;
mod route;
mod running;
#[cfg(feature = "seal")]
pub mod seal;
mod seen;
mod sluggish;
mod token;
mod traits;

mod balance;
mod budget;
mod hedge;
pub mod retry;
mod tags;

mod driver;
pub mod rows;
pub mod transaction;

mod begins;
mod patience;

mod fault;
mod flight;

mod learned;
mod texts;

pub mod access;

mod address;
mod metrics;
mod pool_config;

mod lag;

#[cfg_attr(
    not(feature = "mysql"),
    allow(dead_code, reason = "read by the driver of MySQL")
)]
mod gtid;

mod findings;
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
