//! The whole service, on SQLite and on real servers.

#![allow(clippy::unwrap_used)]

mod api;
mod socket;

mod binary;
mod coherence;
mod connections;
mod faults;
mod indexes;
mod live_page;
mod pages;
mod purchases;
mod restart;
mod rush;
mod sales;
mod shutdown;
mod validators;
