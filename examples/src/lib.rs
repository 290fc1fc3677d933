//! Small examples of the bilten crates, one per idea: `README.md` is the index.
//!
//! The library itself is the guide: every page under `docs/` is a module here, so that its snippets compile and run as
//! documentation tests.

// The pages link to each other and to folders, as files do.
#![allow(rustdoc::broken_intra_doc_links)]

macro_rules! guide {
    ($($module:ident = $file:literal),* $(,)?) => {
        $(
            #[doc = include_str!(concat!("../../docs/", $file))]
            pub mod $module {}
        )*

        #[cfg(test)]
        const PAGES: &[&str] = &[$($file),*];
    };
}

guide! {
    architecture = "architecture.md",
    benchmarks = "benchmarks.md",
    cache = "cache.md",
    cache_bounds = "cache-bounds.md",
    cache_calls = "cache-calls.md",
    cache_coherence = "cache-coherence.md",
    cache_compared = "cache-compared.md",
    cache_config = "cache-config.md",
    cache_disk = "cache-disk.md",
    cache_formats = "cache-formats.md",
    cache_from_cached = "cache-from-cached.md",
    cache_from_fred = "cache-from-fred.md",
    cache_from_fusioncache = "cache-from-fusioncache.md",
    cache_from_moka = "cache-from-moka.md",
    cache_http = "cache-http.md",
    cache_invalidation = "cache-invalidation.md",
    cache_loader = "cache-loader.md",
    cache_many = "cache-many.md",
    cache_negative = "cache-negative.md",
    cache_observing = "cache-observing.md",
    cache_options = "cache-options.md",
    cache_outages = "cache-outages.md",
    cache_read_through = "cache-read-through.md",
    cache_refresh = "cache-refresh.md",
    cache_replicas = "cache-replicas.md",
    cache_staleness = "cache-staleness.md",
    cache_steps = "cache-steps.md",
    cache_testing = "cache-testing.md",
    cache_timeouts = "cache-timeouts.md",
    cache_writes = "cache-writes.md",
    contributing = "contributing.md",
    db = "db.md",
    db_consistency = "db-consistency.md",
    db_options = "db-options.md",
    db_servers = "db-servers.md",
    health = "health.md",
    index = "README.md",
    metrics = "metrics.md",
    monitor = "monitor.md",
    probes = "probes.md",
    readme = "../README.md",
    redis_clients = "redis-clients.md",
    start = "start.md",
    testing = "testing.md",
}

#[cfg(test)]
mod tests {
    use super::PAGES;

    #[test]
    fn every_page_of_the_guide_is_compiled() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
        let mut missing = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") && name != "SUMMARY.md" && !PAGES.contains(&name.as_str()) {
                missing.push(name);
            }
        }
        assert!(
            missing.is_empty(),
            "add to the list in examples/src/lib.rs: {missing:?}"
        );
    }
}
