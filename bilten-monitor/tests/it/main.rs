//! What the monitor promises, on real futures, real servers and a real exporter.

mod alerts;
mod allocations;
mod bad_input;
mod cardinality;
mod catalog;
mod dashboard;
mod emitted;
mod exporter;
mod generated;
mod http2;
mod http_body;
mod http_facts;
mod http_layer;
mod http_routes;
mod http_server;
mod moods;
mod naming;
mod objective;
mod own_metrics;
mod panels;
mod promtool;
mod query;
mod recorder;
mod recovery;
mod repeated;
mod rules;
mod sampling;
mod sea_orm;
mod snapshot;
mod trace;
mod watchdog;
mod webhook;

mod handles;
mod scene;
mod scrape;
