//! Settings from a configuration file or from the environment, through serde.
//!
//! Durations are written as people write them (`30s`, `5m`, `1h 30m`), sizes too (`64MiB`, `500 kB`). What is unknown, has no meaning or
//! contradicts something else is an error that names the setting with its path.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bilten_cache::Cache;
//! use bilten_cache::config::Settings;
//!
//! let text = r#"{
//!     "cache": { "memory": "64MiB", "remote_budget": "100ms" },
//!     "regions": {
//!         "event": { "time_to_live": "30m", "stale_if_error": "1h", "refresh_ahead": 0.8 },
//!         "user": { "time_to_live": "5m", "max_concurrent_loads": 20 }
//!     }
//! }"#;
//! let settings = Settings::read(&mut serde_json::Deserializer::from_str(text))?;
//!
//! let cache = Cache::builder("shop").settings(&settings.cache).build().await?;
//! let events = cache.region::<i64, String>("event").settings(&settings.region("event")).build()?;
//! # let _ = events;
//!
//! let text = r#"{ "regions": { "event": { "time_to_life": "30m" } } }"#;
//! let error = Settings::read(&mut serde_json::Deserializer::from_str(text)).unwrap_err();
//! assert!(error.to_string().starts_with("regions.event.time_to_life: "), "{error}");
//! # Ok(()) }
//! ```
//!
//! With the features `disk` and `http` a configuration has a section of each name too. Addresses and secrets are not here: give those to
//! [`CacheBuilder::redis`](crate::CacheBuilder::redis).

mod cache;
#[cfg(feature = "disk")]
mod disk;
#[cfg(feature = "http")]
mod http;
mod human;
mod region;
#[cfg(test)]
mod taken;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

pub use self::cache::CacheSettings;
#[cfg(feature = "disk")]
pub use self::disk::DiskSettings;
#[cfg(feature = "http")]
pub use self::http::HttpSettings;
pub use self::region::RegionSettings;
use crate::error::Error;

/// What a configuration says about one cache and its regions. What it does not say is as the builders have it.
///
/// There is an example at [the module](self).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// The cache.
    pub cache: CacheSettings,
    /// Its second level on disk, if there is to be one.
    #[cfg(feature = "disk")]
    pub disk: Option<DiskSettings>,
    /// The layer that keeps HTTP responses in it.
    #[cfg(feature = "http")]
    pub http: HttpSettings,
    /// Its regions by name.
    #[serde(deserialize_with = "regions")]
    pub regions: BTreeMap<String, RegionSettings>,
}

impl Settings {
    /// Reads settings in any format that serde knows.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the path of the first setting that is wrong.
    pub fn read<'de>(from: impl Deserializer<'de>) -> Result<Self, Error> {
        serde_path_to_error::deserialize(from).map_err(|error| {
            let path = error.path().to_string();
            misread(&path, &error.into_inner().to_string())
        })
    }

    /// What is said about a region; nothing, if it is not named.
    #[must_use]
    pub fn region(&self, name: &str) -> RegionSettings {
        self.regions.get(name).cloned().unwrap_or_default()
    }

    /// Checks that the configuration names no region but these, so that a misspelt name does not go unnoticed.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the path of the first other region.
    pub fn expect_regions(&self, names: &[&str]) -> Result<(), Error> {
        let other = self
            .regions
            .keys()
            .find(|name| !names.contains(&name.as_str()));
        let Some(other) = other else { return Ok(()) };
        Err(Error::config(
            format!("regions.{other}"),
            format!("there is no such region; there are {}", names.join(", ")),
            "correct the name, or leave it out",
        ))
    }
}

/// The regions by name, each of them once: of two nobody knows which one is meant.
fn regions<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, RegionSettings>, D::Error> {
    from.deserialize_map(Regions)
}

struct Regions;

impl<'de> Visitor<'de> for Regions {
    type Value = BTreeMap<String, RegionSettings>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("regions by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut regions = BTreeMap::new();
        while let Some((name, settings)) = map.next_entry::<String, RegionSettings>()? {
            if regions.contains_key(&name) {
                return Err(A::Error::custom(format!("{name}: it is there twice")));
            }
            regions.insert(name, settings);
        }
        Ok(regions)
    }
}

/// A contradiction knows its setting but not where that stands, and an unknown setting the other way round.
fn misread(path: &str, problem: &str) -> Error {
    const REMEDY: &str = "correct it, or leave it out for the default";
    let within = |name: &str| match path {
        "." | "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    // Some formats tell the path with the name, others without.
    let of = |name: &str| match path.split('.').next_back() == Some(name) {
        true => path.to_owned(),
        false => within(name),
    };
    // serde's own words for a name that no field has, and for one that was there before.
    let quoted = |words| problem.strip_prefix(words)?.split_once('`');
    if let Some((name, expected)) = quoted("unknown field `") {
        let expected = expected.trim_start_matches(", ");
        let problem = format!("there is no such setting; {expected}");
        return Error::config(of(name), problem, REMEDY);
    }
    if let Some((name, place)) = quoted("duplicate field `") {
        return Error::config(of(name), format!("it is there twice{place}"), REMEDY);
    }
    match problem.split_once(": ") {
        Some((name, problem)) if is_name(name) => Error::config(within(name), problem, REMEDY),
        _ if matches!(path, "." | "") => Error::config("settings", problem, REMEDY),
        _ => Error::config(path.to_owned(), problem, REMEDY),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let mut from = serde_json::Deserializer::from_str(text);
        Settings::read(&mut from).map_err(|error| error.to_string())
    }

    /// A text, the path of what is wrong with it, and a part of what is said about that.
    const WRONG: &[(&str, &str, &str)] = &[
        (r#"{"cach": {}}"#, "cach", "no such setting"),
        (r#"{"cache": {"memry": 1}}"#, "cache.memry", "`memory`"),
        (
            r#"{"cache": {"memory": "64 apples"}}"#,
            "cache.memory",
            "such as `64MiB`",
        ),
        (
            r#"{"cache": {"memory": -1}}"#,
            "cache.memory",
            "such as `64MiB`",
        ),
        (
            r#"{"cache": {"isolated_ttl": "0s"}}"#,
            "cache.isolated_ttl",
            "it is zero",
        ),
        (
            r#"{"cache": {"isolated_ttl": 5}}"#,
            "cache.isolated_ttl",
            "such as `30s`",
        ),
        (
            r#"{"cache": {"remote_concurrency": 0}}"#,
            "cache.remote_concurrency",
            "it is 0",
        ),
        (
            r#"{"cache": {"max_concurrent_loads": 0}}"#,
            "cache.max_concurrent_loads",
            "zero",
        ),
        (
            r#"{"regions": {"a": {"ttl": "1s"}}}"#,
            "regions.a.ttl",
            "`time_to_live`",
        ),
        (
            r#"{"regions": {"a": {"time_to_live": "soon"}}}"#,
            "regions.a.time_to_live",
            "`soon`",
        ),
        (
            r#"{"regions": {"a": {"time_to_live": "0s"}}}"#,
            "regions.a.time_to_live",
            "it is zero",
        ),
        (
            r#"{"regions": {"a": {"jitter": "NaN"}}}"#,
            "regions.a.jitter",
            "`NaN`",
        ),
        (
            r#"{"regions": {"a": {"jitter": "-1s"}}}"#,
            "regions.a.jitter",
            "`-1s`",
        ),
        (
            r#"{"regions": {"a": {"jitter": "inf"}}}"#,
            "regions.a.jitter",
            "`inf`",
        ),
        (
            r#"{"regions": {"a": {"refresh_ahead": 1.5}}}"#,
            "regions.a.refresh_ahead",
            "1.5",
        ),
        (
            r#"{"regions": {"a": {"soft_timeout": "1s", "stale_if_error": "0s"}}}"#,
            "regions.a.soft_timeout",
            "`stale_if_error`",
        ),
        (
            r#"{"regions": {"a": {"soft_timeout": "40s", "load_timeout": "40s"}}}"#,
            "regions.a.soft_timeout",
            "`load_timeout`",
        ),
        (
            r#"{"regions": {"a": {"refresh_ahead": 0.5, "refresh_early": 1.0}}}"#,
            "regions.a.refresh_early",
            "`refresh_ahead`",
        ),
        (
            r#"{"regions": {"a": {"time_to_idle": "1s", "memory_time_to_live": "1s"}}}"#,
            "regions.a.time_to_idle",
            "`memory_time_to_live`",
        ),
        (
            r#"{"regions": {"a": {"max_value_bytes": 0}}}"#,
            "regions.a.max_value_bytes",
            "it is zero",
        ),
        (r#"{"cache": {}, "cache": {}}"#, "cache", "there twice"),
        (
            r#"{"regions": {"a": {"jitter": "1s", "jitter": "2s"}}}"#,
            "regions.a.jitter",
            "there twice",
        ),
        (
            r#"{"regions": {"a": {"max_value_bytes": "99999999999TiB"}}}"#,
            "regions.a.max_value_bytes",
            "such as `64MiB`",
        ),
        (
            r#"{"regions": {"a": {}, "b": {}, "a": {"jitter": "1s"}}}"#,
            "regions.a",
            "there twice",
        ),
        (
            r#"{"regions": {"a": {"schema_version": -1}}}"#,
            "regions.a.schema_version",
            "-1",
        ),
        #[cfg(feature = "disk")]
        (r#"{"disk": {}}"#, "disk.folder", "it is missing"),
        #[cfg(feature = "disk")]
        (r#"{"disk": {"folder": ""}}"#, "disk.folder", "it is empty"),
        #[cfg(feature = "disk")]
        (
            r#"{"disk": {"folder": "f", "bytes": "1000kB"}}"#,
            "disk.bytes",
            "below 1 MiB",
        ),
        #[cfg(feature = "disk")]
        (
            r#"{"disk": {"folder": "f", "byte": 1}}"#,
            "disk.byte",
            "`bytes`",
        ),
        #[cfg(not(feature = "disk"))]
        (
            r#"{"disk": {"folder": "f"}}"#,
            "disk",
            "there is no such setting",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"time_to_live": "20ms"}}"#,
            "http.time_to_live",
            "below one second",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"longest_life": "0s"}}"#,
            "http.longest_life",
            "zero",
        ),
        #[cfg(feature = "http")]
        (r#"{"http": {"variants": 0}}"#, "http.variants", "zero"),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"load_timeout": "0s"}}"#,
            "http.load_timeout",
            "zero",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"max_body_bytes": 0}}"#,
            "http.max_body_bytes",
            "zero",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"region": "my pages"}}"#,
            "http.region",
            "`my pages` is not a name",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"time_to_live": "2d", "longest_life": "1d"}}"#,
            "http.time_to_live",
            "`longest_life`",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"max_body_bytes": "2GiB"}}"#,
            "http.max_body_bytes",
            "at most 1 GiB",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"tag_header": "Cache Tag"}}"#,
            "http.tag_header",
            "`Cache Tag`",
        ),
        #[cfg(feature = "http")]
        (
            r#"{"http": {"sorted_query": true, "query_parameters": []}}"#,
            "http.sorted_query",
            "`query_parameters`",
        ),
        #[cfg(not(feature = "http"))]
        (r#"{"http": {}}"#, "http", "there is no such setting"),
    ];

    #[test]
    fn whatever_is_wrong_is_named_with_its_path() {
        for &(text, path, part) in WRONG {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("{path}: ")), "{error}");
            assert!(error.contains(part), "{error}");
        }
        assert!(read("{").is_err());
    }

    /// In formats that have them; JSON has not.
    #[test]
    fn a_number_that_is_none_is_named_with_its_path() {
        use std::collections::HashMap;

        use serde::de::IntoDeserializer;
        use serde::de::value::{Error as Wrong, MapDeserializer};
        for setting in ["refresh_ahead", "refresh_early"] {
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
                let region = HashMap::from([("a", HashMap::from([(setting, bad)]))]);
                let all = HashMap::from([("regions", region)]);
                let read: MapDeserializer<'_, _, Wrong> = all.into_deserializer();
                let error = Settings::read(read).unwrap_err().to_string();
                let path = format!("regions.a.{setting}: ");
                assert!(error.starts_with(&path), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn what_only_the_program_can_contradict_is_held_against_the_program() {
        use std::time::Duration;

        use crate::Cache;
        type Builder = crate::RegionBuilder<str, u32>;
        type Setting = fn(Builder) -> Builder;
        let hour = r#"{"soft_timeout": "40s", "stale_if_error": "1h"}"#;
        let cases: [(&str, &str, Setting, &str); 3] = [
            (
                "patience",
                r#"{"soft_timeout": "1s"}"#,
                |r| r.stale_if_error(Duration::from_secs(60)),
                "soft_timeout: without `stale_if_error`",
            ),
            (
                "limit",
                hour,
                |r| r.load_timeout(Duration::from_secs(60)),
                "soft_timeout: 40s is not below `load_timeout`",
            ),
            (
                "size",
                r#"{"compress_above": "20MiB"}"#,
                |r| r.max_value_bytes(64 << 20),
                "compress_above: ",
            ),
        ];
        let cache = Cache::builder("shop").build().await.unwrap();
        for (name, said, agrees, problem) in cases {
            let settings = read(&format!(r#"{{"regions": {{"a": {said}}}}}"#)).unwrap();
            let region = |name: &str| {
                cache
                    .region::<str, u32>(name)
                    .settings(&settings.region("a"))
            };
            let alone = region("alone").build().unwrap_err().to_string();
            assert!(alone.starts_with(problem), "{alone}");
            // With zstd only there is something to compress.
            let together = agrees(region(name)).build().map(drop);
            assert!(
                together.is_ok() || !cfg!(feature = "zstd"),
                "{said}: {together:?}"
            );
        }
    }

    #[test]
    fn what_is_not_said_is_as_the_builders_have_it() {
        let settings = read(r#"{"regions": {"event": {}}}"#).unwrap();
        assert_eq!(settings.region("event"), RegionSettings::default());
        assert_eq!(settings.region("other"), RegionSettings::default());
        assert!(settings.expect_regions(&["event", "other"]).is_ok());
        let error = settings.expect_regions(&["evnt"]).unwrap_err().to_string();
        assert!(
            error.starts_with("regions.event: there is no such region; there are evnt"),
            "{error}"
        );
    }

    #[test]
    fn settings_may_stand_in_a_configuration_of_the_programs_own() {
        #[derive(Debug, Deserialize)]
        struct Own {
            cache: CacheSettings,
        }
        let text = r#"{"cache": {"memory": "1 MiB"}}"#;
        assert!(
            serde_json::from_str::<Own>(text)
                .is_ok_and(|own| own.cache != CacheSettings::default())
        );
        let text = r#"{"cache": {"remote_budget": "0s"}}"#;
        let error = serde_json::from_str::<Own>(text).unwrap_err().to_string();
        assert!(error.contains("remote_budget: it is zero"), "{error}");
    }
}
