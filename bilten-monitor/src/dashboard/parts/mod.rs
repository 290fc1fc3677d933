//! The other bilten crates, as far as this process has them: what they recorded, put in the page's words.

mod cache;
mod database;
mod health;
mod reading;

pub(super) use cache::{Cache, caches};
pub(super) use database::{Node, nodes};
pub(super) use health::{Check, checks};
pub(super) use reading::Readings;
