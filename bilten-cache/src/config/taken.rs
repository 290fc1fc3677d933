//! Each setting of a configuration does what the setter of its name does, and none is left out here.

use std::time::Duration;

use super::Settings;
use crate::clock::Clock;
#[cfg(feature = "http")]
use crate::http::HttpCacheBuilder;
use crate::options::Options;
#[cfg(feature = "disk")]
use crate::remote::DiskOptions;
use crate::{Cache, CacheBuilder, RegionBuilder};

type Region = RegionBuilder<str, Option<u32>>;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

/// A setting, what a configuration says of it, and the same in a program.
type Row<B> = (&'static str, &'static str, fn(B) -> B);

/// No value is that of another one or the default.
const OF_REGIONS: [Row<Region>; 20] = [
    ("time_to_live", r#""11s""#, |r| r.time_to_live(SECONDS(11))),
    ("memory_time_to_live", r#""12s""#, |r| {
        r.memory_time_to_live(SECONDS(12))
    }),
    ("time_to_idle", r#""13s""#, |r| r.time_to_idle(SECONDS(13))),
    ("negative_time_to_live", r#""14s""#, |r| {
        r.negative_time_to_live(SECONDS(14))
    }),
    ("jitter", r#""15s""#, |r| r.jitter(SECONDS(15))),
    ("stale_while_revalidate", r#""16s""#, |r| {
        r.stale_while_revalidate(SECONDS(16))
    }),
    ("stale_if_error", r#""17s""#, |r| {
        r.stale_if_error(SECONDS(17))
    }),
    ("revalidate_within", r#""18s""#, |r| {
        r.revalidate_within(SECONDS(18))
    }),
    ("retry_after", r#""19s""#, |r| r.retry_after(SECONDS(19))),
    ("soft_timeout", r#""20s""#, |r| r.soft_timeout(SECONDS(20))),
    ("load_timeout", r#""21s""#, |r| r.load_timeout(SECONDS(21))),
    ("late_results", r#""22s""#, |r| r.late_results(SECONDS(22))),
    ("lease", r#""23s""#, |r| r.lease(SECONDS(23))),
    ("refresh_ahead", "0.24", |r| r.refresh_ahead(0.24)),
    ("refresh_early", "2.5", |r| r.refresh_early(2.5)),
    ("schema_version", "26", |r| r.schema_version(26)),
    ("max_value_bytes", r#""27MiB""#, |r| {
        r.max_value_bytes(27 << 20)
    }),
    ("compress_above", r#""28kB""#, |r| r.compress_above(28_000)),
    ("max_concurrent_loads", "29", |r| r.max_concurrent_loads(29)),
    ("read_only", "true", RegionBuilder::read_only),
];

/// The same of caches.
const OF_CACHES: [Row<CacheBuilder>; 8] = [
    ("memory", r#""11MiB""#, |c| c.memory_bytes(11 << 20)),
    #[cfg(feature = "quick-cache")]
    ("clock_pro", "true", CacheBuilder::clock_pro),
    #[cfg(not(feature = "quick-cache"))]
    ("memory", "12000", |c| c.memory_bytes(12_000)),
    ("remote_budget", r#""13s""#, |c| {
        c.remote_budget(SECONDS(13))
    }),
    ("remote_concurrency", "14", |c| c.remote_concurrency(14)),
    ("isolated_ttl", r#""15s""#, |c| c.isolated_ttl(SECONDS(15))),
    ("source_lag", r#""16s""#, |c| c.source_lag(SECONDS(16))),
    ("max_concurrent_loads", "17", |c| c.max_concurrent_loads(17)),
    ("read_only", "true", CacheBuilder::read_only),
];

#[cfg(feature = "disk")]
const OF_DISKS: [Row<DiskOptions>; 2] = [
    ("bytes", r#""11MiB""#, |d| d.bytes(11 << 20)),
    ("sync", "true", |d| d.sync(true)),
];

/// The same of the layer for HTTP.
#[cfg(feature = "http")]
const OF_LAYERS: [Row<HttpCacheBuilder>; 19] = [
    ("region", r#""pages""#, |h| h.region("pages")),
    ("time_to_live", r#""11s""#, |h| h.time_to_live(SECONDS(11))),
    ("stale_while_revalidate", r#""12s""#, |h| {
        h.stale_while_revalidate(SECONDS(12))
    }),
    ("stale_if_error", r#""13s""#, |h| {
        h.stale_if_error(SECONDS(13))
    }),
    ("revalidate_within", r#""14s""#, |h| {
        h.revalidate_within(SECONDS(14))
    }),
    ("longest_life", r#""15s""#, |h| h.longest_life(SECONDS(15))),
    ("authorized", "true", |h| h.authorized(true)),
    ("request_directives", "false", |h| {
        h.request_directives(false)
    }),
    ("by_host", "false", |h| h.by_host(false)),
    ("sorted_query", "true", HttpCacheBuilder::sorted_query),
    ("query_parameters", r#"["page", "city"]"#, |h| {
        h.query_parameters(["page", "city"])
    }),
    ("tag_header", r#""Cache-Tag""#, |h| {
        h.tag_header(::http::HeaderName::from_static("cache-tag"))
    }),
    ("max_body_bytes", r#""16KiB""#, |h| {
        h.max_body_bytes(16 << 10)
    }),
    ("variants", "17", |h| h.variants(17)),
    ("pass_for", r#""18s""#, |h| h.pass_for(SECONDS(18))),
    ("retry_after", r#""19s""#, |h| h.retry_after(SECONDS(19))),
    ("load_timeout", r#""20s""#, |h| h.load_timeout(SECONDS(20))),
    ("cache_status", "false", |h| h.cache_status(false)),
    ("x_cache", "true", |h| h.x_cache(true)),
];

fn read(text: &str) -> Result<Settings, String> {
    let mut from = serde_json::Deserializer::from_str(text);
    Settings::read(&mut from).map_err(|error| error.to_string())
}

/// The settings that there are, by the words about one that there is not.
fn settings_in(text: &str) -> Vec<String> {
    let error = read(text).unwrap_err();
    let (_, expected) = error
        .split_once("expected one of ")
        .expect("a list of them");
    let mut quoted: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
    quoted.sort_unstable();
    quoted.into_iter().map(str::to_owned).collect()
}

fn sorted<B>(table: &[Row<B>]) -> Vec<String> {
    let mut names: Vec<_> = table.iter().map(|(name, ..)| (*name).to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[tokio::test]
async fn each_setting_of_a_region_does_what_its_setter_does() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let region = || cache.region::<str, Option<u32>>("event");
    for (name, said, setter) in OF_REGIONS {
        let settings = read(&format!(
            r#"{{"regions": {{"event": {{"{name}": {said}}}}}}}"#
        ));
        if name == "compress_above" && cfg!(not(feature = "zstd")) {
            let error = settings.unwrap_err();
            assert!(error.contains("without compression"), "{error}");
            continue;
        }
        let settings = settings.unwrap().region("event");
        let taken = region().settings(&settings).options;
        assert_eq!(taken, setter(region()).options, "{name}");
        assert_ne!(taken, Options::default(), "{name}");
    }
    let there = settings_in(r#"{"regions": {"event": {"other": 1}}}"#);
    assert_eq!(sorted(&OF_REGIONS), there);
}

#[test]
fn each_setting_of_a_cache_does_what_its_setter_does() {
    let clock = Clock::system();
    let cache = || {
        let mut cache = CacheBuilder::of("shop");
        cache.clock = clock.clone();
        cache
    };
    let words = |cache: CacheBuilder| format!("{cache:?}");
    for (name, said, setter) in OF_CACHES {
        let settings = read(&format!(r#"{{"cache": {{"{name}": {said}}}}}"#)).unwrap();
        let taken = words(cache().settings(&settings.cache));
        assert_eq!(taken, words(setter(cache())), "{name}");
        assert_ne!(taken, words(cache()), "{name}");
    }
    let there = settings_in(r#"{"cache": {"other": 1}}"#);
    assert_eq!(sorted(&OF_CACHES), there);
}

#[cfg(feature = "disk")]
#[test]
fn each_setting_of_a_disk_does_what_its_setter_does() {
    let disk = || DiskOptions::folder("/var/cache/shop");
    let words = |disk: DiskOptions| format!("{disk:?}");
    let read = |more: &str| {
        let text = format!(r#"{{"disk": {{"folder": "/var/cache/shop"{more}}}}}"#);
        words(DiskOptions::from(&read(&text).unwrap().disk.unwrap()))
    };
    assert_eq!(read(""), words(disk()));
    for (name, said, setter) in OF_DISKS {
        let taken = read(&format!(r#", "{name}": {said}"#));
        assert_eq!(taken, words(setter(disk())), "{name}");
        assert_ne!(taken, words(disk()), "{name}");
    }
    let mut there = settings_in(r#"{"disk": {"other": 1}}"#);
    there.retain(|name| name != "folder");
    assert_eq!(sorted(&OF_DISKS), there);
}

#[cfg(feature = "http")]
#[tokio::test]
async fn each_setting_of_a_layer_does_what_its_setter_does() {
    let cache = Cache::builder("shop").build().await.unwrap();
    let default = cache.http().setup;
    for (name, said, setter) in OF_LAYERS {
        let settings = read(&format!(r#"{{"http": {{"{name}": {said}}}}}"#)).unwrap();
        let taken = cache.http().settings(&settings.http).setup;
        assert_eq!(taken, setter(cache.http()).setup, "{name}");
        assert_ne!(taken, default, "{name}");
        // What is not said stays.
        let nothing = read("{}").unwrap().http;
        let kept = setter(cache.http()).settings(&nothing).setup;
        assert_eq!(kept, taken, "{name}");
    }
    let there = settings_in(r#"{"http": {"other": 1}}"#);
    assert_eq!(sorted(&OF_LAYERS), there);
}
