//! Redis and PostgreSQL for the other commands, and `cargo xtask servers` for work by hand.

use bilten_testbed::{
    Origin, PG_REPLICA_URLS, PG_URL, Postgres, REDIS_URL, Redis, Service,
    install::{self, Plan},
    shared, source, sources,
};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::step::step;
use crate::workspace::Workspace;

pub(crate) const USAGE: &str = "cargo xtask servers";

const REPLICAS: usize = 2;

/// A Redis and a PostgreSQL primary with its replicas; those that were started here end with this value.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) redis_url: String,
    pub(crate) primary_url: String,
    pub(crate) replica_urls: Vec<String>,
    _started: (Option<Redis>, Option<Postgres>),
}

/// Prints where each server comes from and installs what is missing, or stops with the line to type.
pub(crate) fn make_ready() -> Result<(), Failure> {
    println!("\n{:<11} {:<15} how", "server", "from");
    for source in sources() {
        println!("{source}");
    }
    if sources().iter().all(|source| source.is_available()) {
        return Ok(());
    }
    match install::plan() {
        Plan::Ask(line) => Err(Failure::missing("a server is missing").remedy(line)),
        _ => step("install the missing servers", "30 s", || {
            install::run().map_err(|error| missing(&error))
        }),
    }
}

impl Servers {
    /// Starts what the environment does not name.
    pub(crate) fn start() -> Result<Self, Failure> {
        step(
            "start Redis and PostgreSQL with two replicas",
            "3 s",
            || {
                let given = |service| source(service).origin() == Origin::Environment;
                let redis = if given(Service::Redis) {
                    None
                } else {
                    Some(Redis::start().map_err(|error| broken(&error))?)
                };
                let start = || {
                    Postgres::builder()
                        .replicas(REPLICAS)
                        .start()
                        .map_err(|error| broken(&error))
                };
                let postgres = if given(Service::Postgres) {
                    None
                } else {
                    Some(start()?)
                };
                let redis_url = redis
                    .as_ref()
                    .map_or_else(shared::redis, |redis| Ok(redis.url()))
                    .map_err(|error| broken(&error))?;
                let (primary_url, replica_urls) = match &postgres {
                    Some(own) => (
                        own.primary().url(),
                        own.replicas().iter().map(|node| node.url()).collect(),
                    ),
                    None => {
                        let given = shared::postgres().map_err(|error| broken(&error))?;
                        (given.primary_url(), given.replica_urls())
                    }
                };
                Ok(Self {
                    redis_url,
                    primary_url,
                    replica_urls,
                    _started: (redis, postgres),
                })
            },
        )
    }

    /// The variables by which tests and benchmarks find them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            (REDIS_URL, self.redis_url.clone()),
            (PG_URL, self.primary_url.clone()),
            (PG_REPLICA_URLS, self.replica_urls.join(",")),
        ]
    }
}

/// Starts the servers, prints their URLs and waits to be interrupted.
pub(crate) fn run(_: &Workspace, arguments: Arguments) -> Result<(), Failure> {
    arguments.none_left(USAGE)?;
    make_ready()?;
    let servers = Servers::start()?;
    println!();
    for (name, value) in servers.environment() {
        println!("export {name}='{value}'");
    }
    println!("\nThey run until Ctrl-C; then nothing of them is left.");
    loop {
        std::thread::park();
    }
}

fn missing(error: &bilten_testbed::Error) -> Failure {
    Failure::missing(chain(error))
}

fn broken(error: &bilten_testbed::Error) -> Failure {
    Failure::new(chain(error)).remedy("cargo xtask doctor")
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_sources() {
        let refused = std::io::Error::new(std::io::ErrorKind::PermissionDenied, "not allowed");
        let error = bilten_testbed::Error::Io {
            doing: "make a directory".to_owned(),
            source: refused,
        };
        assert_eq!(chain(&error), "could not make a directory: not allowed");
    }
}
