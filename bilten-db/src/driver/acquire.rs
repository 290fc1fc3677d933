//! How a connection of the pool is waited for, and how a transaction begins on one.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use sea_orm::{
    AccessMode, ConnAcquireErr, DbErr, RuntimeErr, TransactionOptions, TransactionTrait,
};
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Pool};
use tokio::time::timeout;

use super::Driver;
use super::parking::{Parking, Queued};
use super::pool::SqlxPool;
use super::taken::Taken;
use super::way_back::{Origin, back_in_time};
use crate::fault::Fault;
use crate::transaction::Tx;

/// After this long without a connection the node is looked at: it may be dead, not busy.
const SLOW_ACQUIRE: Duration = Duration::from_millis(50);
/// Longest wait for a new connection when another node may serve the call.
const HURRY: Duration = Duration::from_millis(250);

type Acquired<D> = Result<PoolConnection<D>, sqlx::Error>;

impl<D: Driver> SqlxPool<D> {
    pub(super) async fn acquire(
        &self,
        pool: &Pool<D>,
        origin: Origin,
        hurried: bool,
    ) -> Result<PoolConnection<D>, Fault> {
        let (limit, overdue) = self.acquire_limit(pool);
        if hurried && limit > HURRY && matches!(overdue, Fault::ConnectTimeout(_)) {
            return Box::pin(self.acquire_soon(pool, origin, limit)).await;
        }
        let mut acquiring = pin!(pool.acquire());
        // Almost always one is idle. What else may happen is too large to carry through each statement.
        let acquired = match poll_fn(|context| Poll::Ready(acquiring.as_mut().poll(context))).await
        {
            Poll::Ready(acquired) => acquired,
            Poll::Pending => {
                let (parked, _queued) = self.parking.come_first(origin, self.is_full(pool));
                if let Some(parked) = parked {
                    return Ok(parked);
                }
                let mut closed = pool.close_event();
                let acquired =
                    first_free(pool, (&self.parking, origin), self.test_limit(), acquiring);
                let acquired = closed.do_until(acquired);
                match Box::pin(self.watched(limit, acquired)).await {
                    Some(Ok(acquired)) => acquired,
                    Some(Err(_closed)) => return Err(Fault::Discarded),
                    None => return Err(overdue),
                }
            }
        };
        acquired.map_err(|error| acquire_fault(error, overdue))
    }

    /// As [`acquire`](Self::acquire), for somebody who goes elsewhere soon. The connection is opened to the end all the
    /// same: the next one has it, however long a login takes here.
    async fn acquire_soon(
        &self,
        pool: &Pool<D>,
        origin: Origin,
        limit: Duration,
    ) -> Result<PoolConnection<D>, Fault> {
        let (own, parking) = (pool.clone(), Arc::clone(&self.parking));
        let test_limit = self.test_limit();
        let mut opening = Box::pin(async move {
            let acquiring = pin!(own.acquire());
            first_free(&own, (&parking, origin), test_limit, acquiring).await
        });
        let mut closed = pool.close_event();
        let opened = self.watched(HURRY, closed.do_until(&mut opening)).await;
        let overdue = Fault::ConnectTimeout(HURRY);
        match opened {
            Some(Ok(opened)) => opened.map_err(|error| acquire_fault(error, overdue)),
            Some(Err(_closed)) => Err(Fault::Discarded),
            None => {
                tokio::spawn(async move { timeout(limit - HURRY, opening).await.is_ok() });
                Err(overdue)
            }
        }
    }

    /// How long an idle connection has to answer before it is used; `None` where none is tested.
    fn test_limit(&self) -> Option<Duration> {
        let limit = self.config.connect_timeout;
        self.config.ping_if_idle.map(|_| limit)
    }

    fn is_full(&self, pool: &Pool<D>) -> bool {
        pool.size() >= self.config.max
    }

    /// A place before all who come later, for somebody who waits for a full pool; what is parked goes there.
    fn queue(&self, pool: &Pool<D>, origin: Origin) -> Option<Queued<'_, D>> {
        if !self.is_full(pool) {
            return None;
        }
        let (parked, queued) = self.parking.come_first(origin, true);
        if let Some(parked) = parked {
            tokio::spawn(back_in_time(parked));
        }
        queued
    }

    /// How long to wait, and what it means when that was not enough: with a connection to be opened the server is
    /// slow, otherwise the pool is full.
    fn acquire_limit(&self, pool: &Pool<D>) -> (Duration, Fault) {
        let max = self.config.max;
        if pool.num_idle() == 0 && !self.is_full(pool) {
            let limit = self.config.connect_timeout;
            (limit, Fault::ConnectTimeout(limit))
        } else {
            let waited = self.config.acquire_timeout;
            (waited, Fault::Saturated { max, waited })
        }
    }

    /// `None` when the limit passed; asks for a probe when it takes suspiciously long.
    async fn watched<F: Future>(&self, limit: Duration, wait: F) -> Option<F::Output> {
        tokio::pin!(wait);
        let slow = SLOW_ACQUIRE.min(limit);
        if let Ok(output) = timeout(slow, &mut wait).await {
            return Some(output);
        }
        self.suspicion.notify_one();
        timeout(limit.saturating_sub(slow), wait).await.ok()
    }

    /// Two waits with a budget each: one for a connection, one for the answer to BEGIN.
    pub(super) async fn begin_on(&self, options: TransactionOptions) -> Result<Tx, Fault> {
        let silences = self.patience.silences();
        // Before the pool: what is fenced from here on must be noticed.
        let patience = self.patience.begun();
        let (pool, origin) = self.pool();
        let patience = patience.after(origin.moves);
        let writes = origin.writes && options.access_mode != Some(AccessMode::ReadOnly);
        let (limit, overdue) = self.acquire_limit(&pool);
        let mut closed = pool.close_event();
        // The driver knows only of those in its pool, and would wait for one, or open it.
        let (parked, queued) = match pool.num_idle() {
            0 => self.parking.come_first(origin, self.is_full(&pool)),
            _ => (None, None),
        };
        let connection = D::wrap(pool.clone());
        let taken = Taken::default();
        let begin = closed.do_until(async {
            if let Some(parked) = parked {
                back_soon(parked).await;
            }
            connection.begin_with_options(options).await
        });
        let mut begin = pin!(taken.told_by(begin));
        let wait = self.wait();
        let taken = {
            let mut waiting = pin!(taken.or_done(begin.as_mut()));
            match poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await {
                Poll::Ready(taken) => {
                    drop(queued);
                    Some(taken)
                }
                Poll::Pending => {
                    // What was idle a moment ago may be another's by now.
                    let _queued = queued.or_else(|| self.queue(&pool, origin));
                    self.watched(limit, waiting).await
                }
            }
        };
        drop(wait);
        let begun = match taken {
            Some(Some(begun)) => begun,
            Some(None) => patience.wait(silences, begin).await?,
            None => return Err(overdue),
        };
        match begun {
            Ok(Ok(begun)) => Ok(Tx::new(begun, Some((patience, silences)), writes)),
            Ok(Err(error)) => Err(begin_fault(error, overdue)),
            Err(_closed) => Err(Fault::Discarded),
        }
    }
}

/// Takes one back to its pool, and is not waited for where nobody answers on it.
async fn back_soon<D: Driver>(conn: PoolConnection<D>) {
    let mut back = Box::pin(back_in_time(conn));
    if timeout(SLOW_ACQUIRE, &mut back).await.is_err() {
        tokio::spawn(back);
    }
}

/// A new connection, or one that comes back while the server does not give it: at its limit it refuses new ones, and the
/// pool would go on asking for as long as it may.
///
/// The driver hands out what is idle untested here and does not tell how long it was, so it is asked first: what is waited
/// for may be the answer to such a question, and the other one as dead.
async fn first_free<D: Driver>(
    pool: &Pool<D>,
    (parking, origin): (&Parking<D>, Origin),
    test_limit: Option<Duration>,
    mut acquiring: Pin<&mut impl Future<Output = Acquired<D>>>,
) -> Acquired<D> {
    loop {
        if let Ok(acquired) = timeout(SLOW_ACQUIRE, &mut acquiring).await {
            return acquired;
        }
        if let Some(parked) = parking.come_first(origin, false).0 {
            return Ok(parked);
        }
        let Some(back) = pool.try_acquire() else {
            continue;
        };
        let Some(limit) = test_limit else {
            return Ok(back);
        };
        let mut tested = Tested(Some(back));
        let told = {
            let answer = pin!(timeout(limit, tested.answers()));
            match select(acquiring.as_mut(), answer).await {
                Either::Left((acquired, _)) => Err(acquired),
                Either::Right((answers, _)) => Ok(answers.unwrap_or(false)),
            }
        };
        match told {
            Err(acquired) => return acquired,
            Ok(answers) => {
                if let Some(back) = tested.0.take_if(|_| answers) {
                    return Ok(back);
                }
            }
        }
    }
}

/// A connection that is asked whether it works. Left before it has answered it is closed, without a word to whoever does not listen: in the
/// pool the answer to this question would be taken for that to the next one.
struct Tested<D: Driver>(Option<PoolConnection<D>>);

impl<D: Driver> Tested<D> {
    async fn answers(&mut self) -> bool {
        match &mut self.0 {
            Some(conn) => conn.ping().await.is_ok(),
            None => false,
        }
    }
}

impl<D: Driver> Drop for Tested<D> {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

fn acquire_fault(error: sqlx::Error, overdue: Fault) -> Fault {
    match error {
        sqlx::Error::PoolTimedOut => overdue,
        sqlx::Error::PoolClosed => Fault::Discarded,
        error => Fault::Unreachable(error),
    }
}

fn begin_fault(error: DbErr, overdue: Fault) -> Fault {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => overdue,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => Fault::Discarded,
        DbErr::Conn(RuntimeErr::SqlxError(error)) => match Arc::try_unwrap(error) {
            Ok(error) => Fault::Unreachable(error),
            Err(error) => Fault::Statement(DbErr::Conn(RuntimeErr::SqlxError(error))),
        },
        error => Fault::Statement(error),
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use std::time::Instant;

    use bilten_testbed::FaultProxy;
    use metrics::Histogram;
    use sea_orm::{ConnectionTrait as _, Database, Statement};
    use sqlx::Postgres;

    use super::*;
    use crate::PoolConfig;
    use crate::driver::Backend as _;

    /// The server tells of the transaction before it tells its client, and waits for the client once it has.
    const OPEN: &str = "select count(*) from pg_stat_activity where wait_event = 'ClientRead' \
        and state = 'idle in transaction' and datname = current_database()";

    const LIMIT: Duration = Duration::from_secs(60);

    /// With one connection open, which the pool gives out at once.
    async fn with_one(url: &str, config: PoolConfig) -> Result<SqlxPool<Postgres>, Fault> {
        let config = config.min(1).connect_timeout(LIMIT);
        let pool = SqlxPool::<Postgres>::new(
            Arc::from("primary"),
            Postgres::parse(url).map_err(Fault::Unreachable)?,
            config.ping_if_idle(None).idle_timeout(None),
            false,
            Arc::default(),
            Histogram::noop(),
        );
        pool.fill().await?;
        Ok(pool)
    }

    async fn until_idle(pool: &SqlxPool<Postgres>) {
        let is_idle = || async { pool.load().idle == 1 };
        bilten_testbed::eventually_async(LIMIT, is_idle).await;
    }

    #[tokio::test]
    async fn what_began_just_before_another_node_became_the_primary_is_fenced() {
        let postgres = bilten_testbed::shared::postgres().unwrap();
        let database = postgres.database("begun_and_fenced").unwrap();
        let url = database.primary_url();
        let pool = with_one(&url, PoolConfig::default()).await.unwrap();
        let begin = loop {
            until_idle(&pool).await;
            let mut begin = Box::pin(pool.begin_on(TransactionOptions::default()));
            let sent = poll_fn(|context| Poll::Ready(begin.as_mut().poll(context))).await;
            match sent {
                Poll::Pending => break begin,
                // So quick was the server, or so slow this thread.
                Poll::Ready(begun) => begun.unwrap().rollback().await.unwrap(),
            }
        };
        // Answered by the server, and not taken in yet.
        let other = Database::connect(&url).await.unwrap();
        let has_begun = || async {
            let stmt = Statement::from_string(other.get_database_backend(), OPEN);
            let row = other.query_one_raw(stmt).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0).unwrap() == 1
        };
        bilten_testbed::eventually_async(LIMIT, has_begun).await;
        pool.set_read_only(true);
        let tx = begin.await.unwrap();
        let error = tx.commit().await.unwrap_err().to_string();
        assert!(error.contains("another node became the primary"), "{error}");
    }

    /// Its only connection was forgotten on the way, and nobody knows it yet.
    #[tokio::test]
    async fn a_beginning_without_an_answer_is_no_full_pool() {
        let postgres = bilten_testbed::shared::postgres().unwrap();
        let database = postgres.database("begun_in_vain").unwrap();
        let url = database.primary_url();
        let address = Postgres::address(&Postgres::parse(&url).unwrap());
        let proxy = FaultProxy::to_blocking(address.parse().unwrap()).unwrap();
        let limit = Duration::from_secs(2);
        let config = PoolConfig::default().acquire_timeout(limit / 8);
        let through = proxy.url_like(&url).unwrap();
        let pool = with_one(&through, config.query_timeout(limit));
        let pool = pool.await.unwrap();
        until_idle(&pool).await;
        proxy.strand_all();
        let begun = Instant::now();
        let begin = || pool.begin_on(TransactionOptions::default());
        let fault = begin().await.err().unwrap();
        assert!(
            matches!(fault, Fault::QueryTimeout(told) if told == limit),
            "{fault:?}"
        );
        assert!(begun.elapsed() >= limit, "{:?}", begun.elapsed());
        let begins = || async { begin().await.is_ok() };
        bilten_testbed::eventually_async(LIMIT, begins).await;
    }
}
