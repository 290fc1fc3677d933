//! Behaviour of the cache on real servers.
