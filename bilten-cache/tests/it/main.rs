//! What the cache promises, with every order forced: loads are held by their loaders, calls to the second
//! level by traps. `redis` and what is below it run on a real server.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod batches;
mod builds;
mod calls;
mod cancellation;
mod clusters;
mod codecs;
mod coherence;
mod conformance;
mod counted;
mod cut_off;
mod disk;
mod events;
mod explain;
mod formats;
mod garbage;
mod harness;
mod healing;
mod hooked;
mod http_flights;
mod http_keys;
mod http_pages;
mod http_servers;
mod in_hand;
mod killed;
mod late;
mod levels;
mod limits;
mod logged;
mod lost_log;
mod many;
mod memory;
mod nodes;
mod older_copies;
mod order;
mod outages;
mod overlaps;
mod own_stores;
mod races;
mod recovery;
mod redis;
mod redis_faults;
mod refresh;
mod secured;
mod shutdown;
mod site;
mod sources;
mod staleness;
mod stampede;
mod upkeep;
mod values;
mod writes;
