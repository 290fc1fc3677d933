//! What the monitor promises, on real futures, real servers and a real exporter.

mod alerts;
mod allocations;
mod bad_input;
mod cardinality;
mod catalog;
mod dashboard;
mod exporter;
mod generated;
mod http_body;
mod http_layer;
mod http_server;
mod naming;
mod own_metrics;
mod query;
mod recorder;
mod repeated;
mod rules;
mod sea_orm;
mod snapshot;
mod watchdog;
mod webhook;

mod scene;
mod scrape;
