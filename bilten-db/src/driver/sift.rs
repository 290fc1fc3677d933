//! Finds the connections of a pool that died in silence.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{Connection as _, Pool};
use tokio::time::timeout;

use super::lease::{Lease, Origin};
use super::{Driver, query_err};
use crate::fault::Fault;

/// For the answer to a ping, where a new connection was answered within less.
const LIMIT: Duration = Duration::from_secs(1);

/// Asks all that are idle at once. Nobody gets one of them meanwhile; those without an answer leave the pool.
///
/// # Cancellation
///
/// What was asked and has not answered leaves the pool.
pub(super) async fn sift<D: Driver>(pool: &Pool<D>, (silences, origin): (u64, Origin)) -> usize {
    let idle: Vec<_> = std::iter::from_fn(|| pool.try_acquire()).collect();
    let asked = idle.into_iter().map(|conn| async move {
        let mut lease = Lease::new(conn, None, silences, origin);
        let answer = timeout(LIMIT, lease.ping()).await;
        let answer = answer.map_err(|_| Fault::Silent(LIMIT));
        lease.settle(answer, query_err).is_ok()
    });
    let answered = join_all(asked).await;
    answered.into_iter().filter(|answered| *answered).count()
}
