//! Whether something listens.

use super::resolve::resolve;
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Opens a TCP connection to `address` (`host:port`) and closes it again.
///
/// An address without a port is refused at build.
///
/// ```
/// use bilten_health::{Health, checks};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?.to_string();
/// let health = Health::builder().check(checks::tcp("smtp", address).non_critical()).build()?;
/// assert!(health.check().await.healthy);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
pub fn tcp(name: impl Into<String>, address: impl Into<String>) -> CheckBuilder {
    let address = address.into();
    let problem = problem(&address);
    let builder = check(name, Tcp(address.clone()));
    builder.refuse(
        &address,
        problem,
        "host:port, such as db.internal:5432 or [::1]:5432",
    )
}

/// What is wrong with an address, as far as can be told without a lookup.
pub(super) fn problem(address: &str) -> Option<&'static str> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Some("has no port");
    };
    if host.is_empty() {
        Some("has no host")
    } else if port.parse::<u16>().is_err() {
        Some("has a port that is no number from 0 to 65535")
    } else if host.contains(':') && !host.starts_with('[') {
        Some("has more than one colon")
    } else if host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        Some("has characters that no host has")
    } else {
        None
    }
}

struct Tcp(String);

impl Check for Tcp {
    async fn check(&self, context: &CheckContext) -> Verdict {
        let limit = context.budget();
        let connect = async { TcpStream::connect(&*resolve(context, self.0.clone()).await?).await };
        match timeout(limit, connect).await {
            Ok(Ok(_)) => Verdict::up(),
            Ok(Err(error)) => Verdict::failed(&error),
            Err(_) => {
                Verdict::down(format!("no connection within {limit:?}")).reason(Reason::Timeout)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn addresses_that_can_never_work_are_told_apart() {
        for good in [
            "localhost:1",
            "10.0.0.1:65535",
            "[::1]:80",
            "db.internal:5432",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "",
            "db",
            "db:",
            ":1",
            "db:65536",
            "::1:80",
            "a b:1",
            "http://x:80",
            "db:-1",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
