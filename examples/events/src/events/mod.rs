//! Events: what is asked, what is read and written, what is answered.

mod deferred;
pub mod links;
pub mod purchase_key;
pub mod queries;
pub mod repository;
pub mod request;
pub mod routes;
pub mod service;
pub mod tickets;
pub mod view;
