//! Finds the connections of a pool that died in silence.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Pool};
use tokio::time::timeout;

use super::lease::Lease;
use super::way_back::Origin;
use super::{Driver, Sifted, query_err};
use crate::fault::Fault;

/// For the answer to a ping, where a new connection was answered within less.
const LIMIT: Duration = Duration::from_secs(1);

/// Asks all that are idle and all that are `parked` at once. Nobody gets one of them meanwhile; those without an answer leave the pool.
///
/// # Cancellation
///
/// What waited for work at the call and has not answered leaves the pool.
pub(super) fn sift<D: Driver>(
    pool: Pool<D>,
    parked: Vec<PoolConnection<D>>,
    (silences, origin): (u64, Origin),
) -> impl Future<Output = Sifted> + Send + 'static {
    let idle = std::iter::from_fn(|| pool.try_acquire());
    let idle = parked
        .into_iter()
        .chain(idle)
        .map(|conn| Lease::new(conn, None, silences, origin));
    let idle: Vec<_> = idle.collect();
    async move {
        let asked = idle.into_iter().map(|mut lease| async move {
            let answer = timeout(LIMIT, lease.ping()).await;
            let answer = answer.map_err(|_| Fault::Silent(LIMIT));
            lease.settle(answer, query_err).is_ok()
        });
        let answered = join_all(asked).await;
        let idle = u32::try_from(pool.num_idle()).unwrap_or(0);
        Sifted {
            answered: answered.into_iter().filter(|answered| *answered).count(),
            used: pool.size().saturating_sub(idle),
        }
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use std::sync::Arc;

    use bilten_testbed::FaultProxy;
    use metrics::Histogram;
    use sqlx::Postgres;

    use crate::PoolConfig;
    use crate::driver::pool::SqlxPool;
    use crate::driver::{Backend as _, Driver as _};

    use super::*;

    const FAR: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_was_forgotten_on_the_way_leaves_the_pool() {
        let postgres = bilten_testbed::shared::postgres().unwrap();
        let database = postgres.database("sifted").unwrap();
        let options = Postgres::parse(&database.primary_url()).unwrap();
        let address = Postgres::address(&options).parse().unwrap();
        let proxy = FaultProxy::to_blocking(address).unwrap();
        let pool = SqlxPool::<Postgres>::new(
            Arc::from("primary"),
            options.port(proxy.addr().port()),
            PoolConfig::default().min(4).connect_timeout(FAR),
            false,
            Arc::default(),
            Histogram::noop(),
        );
        pool.fill().await.unwrap();
        let is_idle = || async { pool.load().idle == 4 };
        bilten_testbed::eventually_async(FAR, is_idle).await;
        proxy.strand_all();
        assert_eq!(pool.sift().await.answered, 0);
        assert_eq!(pool.load().size, 0);
    }
}
