//! Routing hints for everything that a future does, however deep.

pub use crate::freshness::{Freshness, with_freshness};

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::deadline;
use crate::freshness::{self, Want};
use crate::node::Node;
use crate::tags::{self, Tags};

/// Where the reads of a [`with_route`] scope go. Writes always go to the primary.
///
/// ```
/// # use bilten_db::{Cluster, Error, sea_orm::ConnectionTrait};
/// use bilten_db::scope::{Route, with_route};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// # let sql = "select 1";
/// with_route(Route::Primary, async { db.execute_unprepared(sql).await }).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// All reads go to the primary: they see every commit.
    Primary,
    /// All reads go to replicas; without one they fail with [`Error::NoReplica`](crate::Error::NoReplica).
    Replica,
    /// The first read picks a node and the others stay with it, so that they agree about the data.
    OneNode,
    /// All reads go to the replicas of this [`group`](crate::Replica::group); without one in rotation they fail with
    /// [`Error::NoReplica`](crate::Error::NoReplica), because work that was set apart is not meant for the primary.
    Group(&'static str),
}

impl Route {
    /// Whether the primary must not stand in.
    pub(crate) fn is_replicas_only(self) -> bool {
        matches!(self, Self::Replica | Self::Group(_))
    }

    pub(crate) fn group(self) -> Option<&'static str> {
        match self {
            Self::Group(name) => Some(name),
            Self::Primary | Self::Replica | Self::OneNode => None,
        }
    }
}

tokio::task_local! {
    static SCOPE: Scope;
}

struct Scope {
    route: Option<Route>,
    /// Whether the reads stay with the node of the first one.
    pins: bool,
    pin: Mutex<Option<Pin>>,
}

struct Pin {
    cluster: usize,
    node: Arc<Node>,
}

/// Runs `future` with a hint for its reads. An inner scope takes the place of an outer one.
///
/// The hint belongs to the task: what `future` spawns does not see it.
///
/// # Cancellation
///
/// Nothing is held when the returned future is dropped.
pub async fn with_route<F: Future>(route: Route, future: F) -> F::Output {
    let scope = Scope {
        route: Some(route),
        pins: route == Route::OneNode,
        pin: Mutex::new(None),
    };
    SCOPE.scope(scope, future).await
}

/// Runs `future` with a limit for all its database calls together, on whatever cluster. An outer limit that ends earlier
/// stays.
///
/// A call that takes longer fails with [`Error::Deadline`](crate::Error::Deadline), which says whether a write was under way
/// that may have happened. Of streams and transactions only the beginning is bounded.
///
/// ```
/// # use bilten_db::{Cluster, Error, sea_orm::ConnectionTrait};
/// use std::time::Duration;
/// use bilten_db::scope::with_deadline;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let answer = with_deadline(Duration::from_millis(800), async {
///     db.execute_unprepared("select 1").await?;
///     db.execute_unprepared("select 2").await // gets what the first left
/// });
/// # answer.await?; Ok(()) }
/// ```
///
/// # Cancellation
///
/// Nothing is held when the returned future is dropped.
pub async fn with_deadline<F: Future>(limit: Duration, future: F) -> F::Output {
    deadline::until(limit, future).await
}

/// Adds comments to the statements that `future` sends, such as `/*route='%2Fevents'*/`, beside those of an outer scope
/// and of [`ClusterBuilder::tag`](crate::ClusterBuilder::tag).
///
/// Take values of which there are few: each makes another text, with a prepared statement of its own. Statements inside
/// of transactions have none.
///
/// ```
/// # use bilten_db::{Cluster, Error, sea_orm::ConnectionTrait};
/// use bilten_db::scope::with_tags;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// with_tags([("route", "/events")], async { db.execute_unprepared("select 1").await }).await?;
/// # Ok(()) }
/// ```
///
/// # Cancellation
///
/// Nothing is held when the returned future is dropped.
pub async fn with_tags<'a, F: Future>(
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    future: F,
) -> F::Output {
    let mut all = Tags::default();
    tags.into_iter()
        .for_each(|(key, value)| all.set(key, value));
    tags::tagged(all, future).await
}

/// Keeps the reads of `future` on one node, and to whatever hint there is already.
pub(crate) async fn on_one_node<F: Future>(future: F) -> F::Output {
    if pins() || route() == Some(Route::Primary) {
        // Both are one node already, and the pin of an outer scope must stay.
        return future.await;
    }
    let scope = Scope {
        route: route(),
        pins: true,
        pin: Mutex::new(None),
    };
    SCOPE.scope(scope, future).await
}

/// Whether this scope's reads stay with the node of the first one.
pub(crate) fn pins() -> bool {
    SCOPE.try_with(|scope| scope.pins).unwrap_or(false)
}

/// The hint of the present task.
pub(crate) fn route() -> Option<Route> {
    SCOPE.try_with(|scope| scope.route).ok().flatten()
}

/// What the hint of the present task asks of a replica.
pub(crate) fn hinted() -> Want<'static> {
    let wanted = freshness::wanted();
    Want {
        group: route().and_then(Route::group),
        max_lag: wanted.max_lag(),
        at_least: wanted.at_least(),
    }
}

/// The node that this scope's reads of `cluster` stay with.
pub(crate) fn pinned(cluster: usize) -> Option<Arc<Node>> {
    with_pin(|pin| match pin {
        Some(pin) if pin.cluster == cluster => Some(Arc::clone(&pin.node)),
        _ => None,
    })?
}

/// From now on this scope's reads of `cluster` stay with `node`.
pub(crate) fn pin(cluster: usize, node: &Arc<Node>) {
    with_pin(|pin| {
        *pin = Some(Pin {
            cluster,
            node: Arc::clone(node),
        });
    });
}

fn with_pin<T>(look: impl FnOnce(&mut Option<Pin>) -> T) -> Option<T> {
    let inside = |scope: &Scope| {
        scope
            .pins
            .then(|| look(&mut scope.pin.lock().unwrap_or_else(PoisonError::into_inner)))
    };
    SCOPE.try_with(inside).ok().flatten()
}
