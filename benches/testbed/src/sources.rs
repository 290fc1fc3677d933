use std::fmt;

use crate::environment::{PG_URL, REDIS_URL, SOURCE, variable};
use crate::install::{self, Plan};
use crate::machine::program;
use crate::url::ServerUrl;
use crate::{Error, docker};

/// Where one kind of server comes from on this machine.
///
/// ```
/// for source in bilten_testbed::sources() {
///     println!("{source}"); // redis       local programs  /usr/bin/redis-server (Redis server v=7.0.15 ...)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    service: Service,
    origin: Origin,
    detail: String,
}

/// A kind of server.
///
/// ```
/// assert_eq!(bilten_testbed::Service::Redis.to_string(), "redis");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Service {
    /// Redis or Valkey.
    Redis,
    /// PostgreSQL.
    Postgres,
    /// MariaDB; programs of this machine and nothing else.
    MariaDb,
    /// Prometheus with its `promtool`; a program of this machine and nothing else.
    Prometheus,
}

/// The way a server is got, in the order of preference.
///
/// ```
/// assert_eq!(bilten_testbed::Origin::Local.to_string(), "local programs");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A URL in the environment; faults that need the process are not possible.
    Environment,
    /// Programs of this machine, started on loopback.
    Local,
    /// Containers, because an engine answers.
    Docker,
    /// Nowhere yet: the detail is how to get it.
    Missing,
}

impl Source {
    /// Which server.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// How it is got.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The host, the program and its version, or the line to type. Never a password.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Whether tests can have this server now.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.origin != Origin::Missing
    }
}

/// Where each server would come from, one row each; starts and changes nothing.
#[must_use]
pub fn sources() -> Vec<Source> {
    let all = [
        Service::Redis,
        Service::Postgres,
        Service::MariaDb,
        Service::Prometheus,
    ];
    all.map(source).into()
}

/// Where one server would come from.
#[must_use]
pub fn source(service: Service) -> Source {
    let (origin, detail) = find(service);
    Source {
        service,
        origin,
        detail,
    }
}

fn find(service: Service) -> (Origin, String) {
    if let Some((name, port)) = service.environment()
        && let Some(url) = variable(name)
    {
        let shown =
            ServerUrl::parse(name, &url).map_or_else(|e| e.to_string(), |url| url.place(port));
        return (Origin::Environment, format!("{name} = {shown}"));
    }
    match private(service) {
        Origin::Docker => (
            Origin::Docker,
            docker::engine::answers().unwrap_or_else(|problem| problem),
        ),
        Origin::Local => {
            let path = service.program().unwrap_or_default();
            let version = program::version(&path).unwrap_or_default();
            (Origin::Local, format!("{} ({version})", path.display()))
        }
        _ => (Origin::Missing, missing()),
    }
}

/// Where a server of a test's own comes from: never the environment, since it will be stopped and broken.
pub(crate) fn private(service: Service) -> Origin {
    let wish = variable(SOURCE).filter(|_| service.has_image());
    decide(
        wish.as_deref(),
        || service.program().is_some(),
        || {
            let can = cfg!(feature = "docker") && service.has_image();
            can && docker::engine::answers().is_ok()
        },
    )
}

fn decide(
    wish: Option<&str>,
    has_program: impl FnOnce() -> bool,
    has_engine: impl FnOnce() -> bool,
) -> Origin {
    match wish {
        // Wanted is wanted: when the engine is absent, starting says so.
        Some("docker") => Origin::Docker,
        _ if has_program() => Origin::Local,
        Some("local") => Origin::Missing,
        _ if has_engine() => Origin::Docker,
        _ => Origin::Missing,
    }
}

fn missing() -> String {
    let install = match install::plan() {
        Plan::Run(commands) => format!("cargo xtask test installs it: {}", commands.join(" && ")),
        plan => format!("type: {plan}"),
    };
    format!(
        "{install} ({})",
        docker::engine::answers()
            .err()
            .unwrap_or_else(|| "a Docker engine answers: build with the feature docker".to_owned())
    )
}

/// The URL in a variable, checked.
pub(crate) fn url_from(name: &str) -> Result<Option<ServerUrl>, Error> {
    variable(name)
        .map(|url| ServerUrl::parse(name, &url))
        .transpose()
}

impl Service {
    /// The variable that may name a shared one, and the port that its URL may leave out.
    fn environment(self) -> Option<(&'static str, u16)> {
        match self {
            Self::Redis => Some((REDIS_URL, 6379)),
            Self::Postgres => Some((PG_URL, 5432)),
            Self::MariaDb | Self::Prometheus => None,
        }
    }

    /// Whether it may run in a container. No test needs the others there.
    fn has_image(self) -> bool {
        matches!(self, Self::Redis | Self::Postgres)
    }

    fn program(self) -> Option<std::path::PathBuf> {
        match self {
            Self::Redis => program::redis_server(),
            Self::Postgres => {
                program::postgres_directory().map(|directory| directory.join("postgres"))
            }
            Self::MariaDb => {
                program::find("mariadb-install-db").and_then(|_| program::mariadb_server())
            }
            Self::Prometheus => program::find("promtool").and_then(|_| program::find("prometheus")),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Redis => "redis",
            Self::Postgres => "postgresql",
            Self::MariaDb => "mariadb",
            Self::Prometheus => "prometheus",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Environment => "environment",
            Self::Local => "local programs",
            Self::Docker => "docker",
            Self::Missing => "missing",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<11} {:<15} {}",
            self.service, self.origin, self.detail
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_go_before_containers_unless_containers_are_asked_for() {
        let decide = |wish, program, engine| decide(wish, || program, || engine);
        assert_eq!(decide(None, true, true), Origin::Local);
        assert_eq!(decide(None, false, true), Origin::Docker);
        assert_eq!(decide(None, false, false), Origin::Missing);
        assert_eq!(decide(Some("docker"), true, false), Origin::Docker);
        assert_eq!(decide(Some("local"), false, true), Origin::Missing);
    }
}
