//! Names to addresses.

use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::checks::resolve::resolve;
use crate::checks::target;
use std::net::{Ipv6Addr, SocketAddr};

/// The system's resolver has to find at least one address for `host`.
///
/// What can be no host, such as a URL or `host:port`, is refused at build.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder().check(checks::dns("names", "localhost")).build()?;
/// assert_eq!(&*health.check().await.checks[0].name, "names");
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn dns(name: impl Into<String>, host: impl Into<String>) -> CheckBuilder {
    let host = host.into();
    let problem = problem(&host);
    let builder = check(name, Dns(host.clone()));
    builder.refuse(&host, problem, "a host name alone, such as db.internal")
}

fn problem(host: &str) -> Option<&'static str> {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => None,
        Err(_) => target::host_problem(host),
    }
}

struct Dns(String);

impl Check for Dns {
    async fn check(&self, context: &CheckContext) -> Verdict {
        match resolve(context, format!("{}:0", self.0)).await {
            Ok(addresses) => Verdict::up().detail("addresses", texts(&addresses)),
            Err(error) => Verdict::failed(&error),
        }
    }
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn only_a_host_can_be_looked_up() {
        for good in ["localhost", "db.internal.", "10.0.0.1", "::1", "[::1]"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["", " ", "localhost:80", "http://h", "a\0b", "::x"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
