//! Whether something listens.

use super::resolve::resolve;
use super::target::address_problem;
use crate::check::{Check, CheckBuilder, CheckContext, Verdict, check};
use crate::report::Reason;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Opens a TCP connection to `address` (`host:port`) and closes it again.
///
/// An address that can never work, without a port for instance, is refused at build.
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
    let problem = address_problem(&address);
    let builder = check(name, Tcp(address.clone()));
    builder.refuse(
        &address,
        problem,
        "host:port, such as db.internal:5432 or [::1]:5432",
    )
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
