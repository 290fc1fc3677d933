//! What every [`Remote`] must do, as a check that runs against yours.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bilten_cache::remote::conformance;
//! use bilten_cache::test_util::FaultyRemote;
//!
//! let store = FaultyRemote::new();
//! conformance::check(&store, &store.another_node()).await?;
//! # Ok(()) }
//! ```

mod asks;
mod log;
mod many;
mod sources;
mod upkeep;
mod values;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::{Remote, RemoteError};

/// Far longer than any rule takes; a call that never ends breaks its rule.
const LIMIT: Duration = Duration::from_secs(20);

/// How every value begins.
const ANYTHING: Option<&[u8]> = Some(&[]);

/// A rule that a store breaks.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store breaks a rule: {rule}: {found}")]
#[non_exhaustive]
pub struct Violation {
    /// What every store must do.
    pub rule: &'static str,
    /// What this one did.
    pub found: String,
}

/// Checks an implementation through two handles to the same store, as two nodes have them.
///
/// The store must be empty, or the two have a name of their own in it. Takes less than a second with a store that answers at once. At the end
/// both handles are closed.
///
/// # Errors
///
/// The first rule that the store breaks. A call that fails breaks its rule.
///
/// # Cancellation
///
/// May be dropped; what it wrote stays in the store.
pub async fn check(one: &dyn Remote, two: &dyn Remote) -> Result<(), Violation> {
    let nodes = Nodes { one, two };
    values::check(nodes).await?;
    sources::check(nodes).await?;
    log::check(nodes).await?;
    many::check(nodes).await?;
    upkeep::check(nodes).await?;
    upkeep::check_the_end(nodes).await
}

/// Two handles to the same store.
#[derive(Clone, Copy)]
struct Nodes<'a> {
    one: &'a dyn Remote,
    two: &'a dyn Remote,
}

/// What was found where something else was due.
struct Found(String);

impl From<RemoteError> for Found {
    fn from(error: RemoteError) -> Self {
        Self(format!("a call failed: {error}"))
    }
}

async fn rule(
    rule: &'static str,
    run: impl Future<Output = Result<(), Found>>,
) -> Result<(), Violation> {
    let run = tokio::time::timeout(LIMIT, run).await;
    let run = run.unwrap_or_else(|_| Err(Found(format!("no end within {LIMIT:?}"))));
    run.map_err(|Found(found)| Violation { rule, found })
}

fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, due: &T) -> Result<(), Found> {
    if found == due {
        return Ok(());
    }
    // A value may be a megabyte.
    let short = |value: &T| format!("{value:?}").chars().take(200).collect::<String>();
    Err(Found(format!(
        "{what} is {}, not {}",
        short(found),
        short(due)
    )))
}
