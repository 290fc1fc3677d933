//! The whole service, on SQLite and on real servers.

#![allow(clippy::unwrap_used)]

mod api;

mod binary;
mod coherence;
mod faults;
mod indexes;
mod sales;
