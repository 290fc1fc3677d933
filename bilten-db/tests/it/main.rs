//! A cluster on real servers. Routing is proven by asking the server which port it listens on.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod fixture;

mod asking;
mod bad_input;
mod balance;
mod builds;
mod builtins;
mod busy;
mod churn;
mod death;
mod discovery;
mod doubt;
mod failover;
mod freshness;
mod frozen;
mod generated;
mod given_up;
mod http;
mod indexes;
mod kept;
mod keyset;
mod keyset_refused;
mod lag;
mod mariadb;
mod metrics;
mod modes;
mod operations;
mod pages;
mod pgbouncer;
mod pieces;
mod places;
mod pool;
mod restarts;
mod retries;
mod routing;
mod scout;
mod sessions;
mod set_apart;
mod spans;
mod sqlite;
mod start;
mod stranded;
mod strangers;
mod transactions;
mod warnings;
