//! Names to addresses.

use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::checks::resolve::resolve;
use std::net::SocketAddr;

/// The system's resolver has to find at least one address for `host`.
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
    check(name, Dns(host.into()))
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
