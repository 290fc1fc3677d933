//! The whole service, on SQLite and on real servers.

mod api;

mod binary;
mod coherence;
mod faults;
mod indexes;
mod sales;
