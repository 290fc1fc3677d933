//! The options of the service: flags, or environment variables of the same name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;

/// An events-and-tickets service on all four bilten crates.
///
/// Without options it needs no servers: SQLite in a temporary folder, and a cache in memory with its second level beside it.
#[derive(Clone, Parser)]
#[command(name = "bilten-events", version, about)]
pub struct Config {
    /// Port on 127.0.0.1; 0 takes any free one.
    #[arg(
        long,
        env = "BILTEN_EVENTS_PORT",
        default_value_t = 8080,
        value_name = "N"
    )]
    pub port: u16,

    /// Redis for the second cache level, as redis://HOST:PORT; without it that is on disk beside the SQLite file, and with
    /// --database there is none.
    #[arg(
        long,
        env = "BILTEN_EVENTS_REDIS_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub redis: Option<String>,

    /// The primary database, as postgres://USER:PASSWORD@HOST/NAME; without it SQLite in a file.
    #[arg(
        long,
        env = "BILTEN_EVENTS_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub database: Option<String>,

    /// A read replica of the primary; may be given several times (in the environment: separated by commas).
    #[arg(
        long,
        env = "BILTEN_EVENTS_REPLICA_URLS",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        requires = "database"
    )]
    pub replica: Vec<String>,

    /// Folder for the SQLite file and the cache, of this process alone, kept after the end; without it a temporary one.
    #[arg(
        long,
        env = "BILTEN_EVENTS_DATA_DIR",
        value_name = "DIR",
        conflicts_with = "database"
    )]
    pub data_dir: Option<PathBuf>,

    /// Largest number of connections to each database node.
    #[arg(long, env = "BILTEN_EVENTS_POOL_MAX", default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub pool_max: u32,

    /// Start on a free port, fetch every URL once, say what was right and wrong, exit with 0 or 1.
    #[arg(long)]
    pub smoke: bool,
}

impl Config {
    /// Where to listen; `--smoke` always takes a free port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let port = if self.smoke { 0 } else { self.port };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
    }
}

impl Default for Config {
    /// No servers, any free port.
    fn default() -> Self {
        Self {
            port: 0,
            redis: None,
            database: None,
            replica: Vec::new(),
            data_dir: None,
            pool_max: 20,
            smoke: false,
        }
    }
}

// By hand: the URLs hold passwords.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("port", &self.port)
            .field("redis", &self.redis.is_some())
            .field("database", &self.database.is_some())
            .field("replicas", &self.replica.len())
            .field("data_dir", &self.data_dir)
            .field("pool_max", &self.pool_max)
            .field("smoke", &self.smoke)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Config;
    use clap::{CommandFactory, Parser};

    fn parse(flags: &[&str]) -> Result<Config, String> {
        Config::try_parse_from(std::iter::once("bilten-events").chain(flags.iter().copied()))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_definition_is_sound() {
        Config::command().debug_assert();
    }

    #[test]
    fn replicas_are_given_again_and_again() {
        let config = parse(&[
            "--database",
            "postgres://a/x",
            "--replica",
            "postgres://b/x",
            "--replica",
            "postgres://c/x",
        ])
        .unwrap();
        assert_eq!(config.replica, ["postgres://b/x", "postgres://c/x"]);
    }

    #[test]
    fn wrong_flags_are_named() {
        for (flags, named) in [
            (&["--port", "99999"][..], "--port"),
            (&["--replica", "postgres://b/x"][..], "--database"),
            (&["--pool-max", "0"][..], "--pool-max"),
            (&["--databse", "x"][..], "--database"),
            (
                &["--database", "postgres://a/x", "--data-dir", "here"][..],
                "--data-dir",
            ),
        ] {
            let error = parse(flags).unwrap_err();
            assert!(error.contains(named), "{flags:?}: {error}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let config = parse(&[
            "--database",
            "postgres://app:hunter2@a/x",
            "--redis",
            "redis://:hunter2@b",
        ])
        .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
