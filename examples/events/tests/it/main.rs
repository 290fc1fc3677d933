//! The whole service, on SQLite and on real servers.

mod indexes;
