//! The six tables, as SeaORM entities.

// The derive makes a dozen public items per table; the columns say what they are.
#![allow(missing_docs)]

pub mod event;
pub mod organizer;
pub mod purchase;
pub mod ticket;
pub mod user;
pub mod venue;
