//! A pool of sqlx, with its own budgets for connecting, waiting and answering.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use metrics::Histogram;
use sea_orm::{
    DatabaseConnection, DbBackend, ExecResult, QueryResult, Statement, TransactionOptions,
};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::build::build;
use super::fill::fill;
use super::lease::Lease;
use super::parking::Parking;
use super::probe::OwnConnection;
use super::sift::sift;
use super::stream::stream;
use super::way_back::Origin;
use super::{Backend, Driver, PoolLoad, Prober, Sample, Sifted, exec_err, query_err};
use crate::PoolConfig;
use crate::fault::{Fault, Trouble};
use crate::patience::Patience;
use crate::rows::Rows;
use crate::transaction::Tx;

const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Runs statements through a pool of sqlx that can be replaced as a whole.
pub(crate) struct SqlxPool<D: Driver> {
    options: D::Options,
    pub(super) config: PoolConfig,
    present: RwLock<Present<D>>,
    pub(super) suspicion: Arc<Notify>,
    pub(super) patience: Patience,
    acquire_seconds: Histogram,
    pub(super) parking: Arc<Parking<D>>,
    /// Connections that were opened so far, by all pools.
    opened: Arc<AtomicU64>,
}

struct Present<D: Driver> {
    pool: Pool<D>,
    read_only: bool,
    /// How many there were before it.
    pools: u64,
    /// How often another server may have come to stand under the address when it was made.
    moves: u64,
}

impl<D: Driver> SqlxPool<D> {
    /// Opens nothing yet. `suspicion` is notified when the node should be looked at.
    pub(crate) fn new(
        id: Arc<str>,
        options: D::Options,
        config: PoolConfig,
        read_only: bool,
        suspicion: Arc<Notify>,
        acquire_seconds: Histogram,
    ) -> Self {
        let opened = Arc::default();
        let pool = build::<D>(&options, &config, read_only, &opened);
        let address = Arc::from(D::address(&options));
        let suspect = D::WATCHED.then(|| Arc::clone(&suspicion));
        Self {
            patience: Patience::new(id, address, config.query_timeout, suspect),
            parking: Arc::new(Parking::new(config.ping_if_idle)),
            options,
            config,
            present: RwLock::new(Present {
                pool,
                read_only,
                pools: 0,
                moves: 0,
            }),
            suspicion,
            acquire_seconds,
            opened,
        }
    }

    /// The pool and what it is; a fresh one when the server moved since.
    pub(super) fn pool(&self) -> (Pool<D>, Origin) {
        let has_moved = |present: &Present<D>| present.moves != self.patience.moves();
        if D::WATCHED && has_moved(&self.present()) {
            self.replace_if(has_moved, None);
        }
        let present = self.present();
        let origin = Origin {
            pools: present.pools,
            moves: present.moves,
            writes: !present.read_only,
        };
        (present.pool.clone(), origin)
    }

    fn present(&self) -> RwLockReadGuard<'_, Present<D>> {
        self.present.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace_if(&self, is_due: impl Fn(&Present<D>) -> bool, read_only: Option<bool>) {
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        // One that is closed is so for good: the node left the cluster, or the cluster was closed.
        if present.pool.is_closed() || !is_due(&present) {
            return;
        }
        let read_only = read_only.unwrap_or(present.read_only);
        let new = Present {
            moves: self.patience.moves(),
            pool: build::<D>(&self.options, &self.config, read_only, &self.opened),
            read_only,
            pools: present.pools + 1,
        };
        let old = std::mem::replace(&mut *present, new);
        drop(present);
        self.parking.clear();
        // Polled once, `close` fails all waiters; the rest waits for connections in use.
        tokio::spawn(async move { timeout(CLOSE_LIMIT, old.pool.close()).await.is_ok() });
    }

    async fn lease(&self, hurried: bool) -> Result<Lease<D>, Fault> {
        // Before the connection is there: a silence that begins right after it still counts.
        let silences = self.patience.silences();
        let (pool, origin) = self.pool();
        let lease = |conn: PoolConnection<D>, out, pool| {
            let lease = Lease::new(conn, self.config.max_uses, silences, origin);
            lease.parked_at(&self.parking, out, pool)
        };
        if let Some((conn, out)) = self.parking.take(origin, &pool) {
            self.waited(Duration::ZERO);
            return Ok(lease(conn, out, pool));
        }
        let wait = self.wait();
        let acquired = self.acquire(&pool, origin, hurried).await;
        drop(wait);
        acquired.map(|conn| lease(conn, Instant::now(), pool))
    }

    /// A wait for a connection begins, and ends where this is dropped.
    pub(super) fn wait(&self) -> Wait<'_, D> {
        Wait {
            pool: self,
            begun: Instant::now(),
        }
    }

    /// So long a wait for a connection was.
    fn waited(&self, waited: Duration) {
        self.acquire_seconds.record(waited);
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        tracing::Span::current().record("waited_us", waited);
    }

    fn settle<T>(
        &self,
        lease: Lease<D>,
        outcome: Result<Result<T, sqlx::Error>, Fault>,
        wrap: fn(sqlx::Error) -> Fault,
    ) -> Result<T, Fault> {
        let origin = lease.origin;
        let settled = lease.settle(outcome, wrap);
        settled.inspect_err(|fault| self.learn(fault, origin))
    }

    /// Whether to take another connection of the pool: the server had ended this one for idling before the statement came, which so
    /// was not run. Others that idled as long may be like it; each is out of the pool then.
    fn takes_another<T>(&self, settled: &Result<T, Fault>, taken: &mut u32) -> bool {
        *taken += 1;
        let was_idle = |fault: &Fault| fault.trouble() == Trouble::Idled;
        settled.as_ref().is_err_and(was_idle) && *taken <= self.config.max
    }

    /// Where writes are taken, one that is refused tells of a server that is the primary no more.
    fn learn(&self, fault: &Fault, origin: Origin) {
        if fault.trouble() == Trouble::ReadOnly && origin.writes {
            self.patience.refused_after(origin.moves);
        }
    }
}

/// Told however it ends, also where nobody waits any more.
pub(super) struct Wait<'a, D: Driver> {
    pool: &'a SqlxPool<D>,
    begun: Instant,
}

impl<D: Driver> Drop for Wait<'_, D> {
    fn drop(&mut self) {
        self.pool.waited(self.begun.elapsed());
    }
}

/// Runs a statement on a connection; once more where the server wants it prepared anew, which it says before any effect, and on another
/// connection where it had ended this one. Both tries on one connection together have the time of one.
macro_rules! answer {
    ($pool:ident, $hurried:expr, $lease:ident, $asked:expr, $wrap:ident) => {{
        let mut taken = 0;
        loop {
            let settled = answer!(once $pool, $hurried, $lease, $asked, $wrap);
            if !$pool.takes_another(&settled, &mut taken) {
                break settled;
            }
        }
    }};
    (once $pool:ident, $hurried:expr, $lease:ident, $asked:expr, $wrap:ident) => {{
        let mut $lease = $pool.lease($hurried).await?;
        let silences = $lease.silences;
        let outcome = {
            // In its place: moved on, it would be copied.
            let answered = pin!(async {
                let outcome = $asked.await;
                let is_stale = outcome
                    .as_ref()
                    .is_err_and(|error| D::has_stale_plan(error));
                match is_stale && $lease.clear_cached_statements().await.is_ok() {
                    true => Box::pin($asked).await,
                    false => outcome,
                }
            });
            $pool.patience.wait(silences, answered).await
        };
        $pool.settle($lease, outcome, $wrap)
    }};
}

#[async_trait]
impl<D> Backend for SqlxPool<D>
where
    D: Driver,
    <D::Connection as Connection>::Options: Clone,
{
    fn kind(&self) -> DbBackend {
        D::BACKEND
    }

    fn address(&self) -> &str {
        self.patience.address()
    }

    async fn execute(&self, stmt: &Statement, hurried: bool) -> Result<ExecResult, Fault> {
        answer!(self, hurried, lease, D::execute(&mut lease, stmt), exec_err)
    }

    async fn execute_unprepared(&self, sql: &str, hurried: bool) -> Result<ExecResult, Fault> {
        // The driver prepares nothing here: of a text that executes what it prepared itself something may have had an effect.
        let mut taken = 0;
        loop {
            let mut lease = self.lease(hurried).await?.alone();
            let silences = lease.silences;
            let outcome = {
                let asked = pin!(D::execute_unprepared(&mut lease, sql));
                self.patience.wait(silences, asked).await
            };
            let settled = self.settle(lease, outcome, exec_err);
            if !self.takes_another(&settled, &mut taken) {
                return settled;
            }
        }
    }

    async fn query_one(
        &self,
        stmt: &Statement,
        hurried: bool,
    ) -> Result<Option<QueryResult>, Fault> {
        answer!(
            self,
            hurried,
            lease,
            D::query_one(&mut lease, stmt),
            query_err
        )
    }

    async fn query_all(&self, stmt: &Statement, hurried: bool) -> Result<Vec<QueryResult>, Fault> {
        answer!(
            self,
            hurried,
            lease,
            D::query_all(&mut lease, stmt),
            query_err
        )
    }

    async fn stream(&self, stmt: &Statement, hurried: bool) -> Result<Rows, Fault> {
        let mut taken = 0;
        loop {
            let lease = self.lease(hurried).await?;
            let (silences, origin) = (lease.silences, lease.origin);
            let patience = Some(self.patience.clone());
            let opened = Rows::open(stream(lease, stmt.clone()), patience, silences).await;
            if !self.takes_another(&opened, &mut taken) {
                return opened.inspect_err(|fault| self.learn(fault, origin));
            }
        }
    }

    async fn sample(&self) -> Result<Sample, Fault> {
        answer!(self, false, lease, D::sample(&mut lease), query_err)
    }

    async fn begin(&self, options: TransactionOptions) -> Result<Tx, Fault> {
        let mut taken = 0;
        loop {
            let begun = self.begin_on(options).await;
            if !self.takes_another(&begun, &mut taken) {
                return begun;
            }
        }
    }

    fn connection(&self) -> DatabaseConnection {
        // As it is: a fresh one is only made where there is a runtime.
        let mut handle = D::wrap(self.present().pool.clone());
        let handed = self.parking.hand_out();
        // What runs on it tells nothing here: the handle and its clones hold this for as long as one of them is there.
        handle.set_metric_callback(move |_| {
            let _held = &handed;
        });
        handle
    }

    fn load(&self) -> PoolLoad {
        let present = self.present();
        PoolLoad {
            size: present.pool.size(),
            // For a moment the driver has counted one out that it has not counted in yet, and is below zero.
            idle: u32::try_from(present.pool.num_idle()).unwrap_or(0),
            parked: self.parking.count(),
            max: self.config.max,
        }
    }

    fn is_short(&self) -> bool {
        let pool = &self.present().pool;
        pool.size() < self.config.min && !pool.is_closed()
    }

    async fn fill(&self) -> Result<(), Fault> {
        let (pool, read_only) = {
            let present = self.present();
            (present.pool.clone(), present.read_only)
        };
        let options = D::session(&self.options, &self.config, read_only);
        fill::<D>(&pool, &options, &self.config).await
    }

    fn sift(&self) -> BoxFuture<'static, Sifted> {
        let silences = self.patience.silences();
        let (pool, origin) = self.pool();
        let parked = self.parking.take_all(origin);
        Box::pin(sift(pool, parked, (silences, origin)))
    }

    fn waits_inside(&self) -> u32 {
        self.patience.waits_inside()
    }

    fn discard(&self) {
        // An embedded database has no server to lose, and an in-memory one lives in its connections.
        if D::WATCHED {
            self.replace_if(|_| true, None);
        }
    }

    fn moves(&self) -> u64 {
        self.patience.moves()
    }

    fn opened(&self) -> u64 {
        self.opened.load(Ordering::Acquire)
    }

    fn give_up(&self) {
        self.patience.give_up();
    }

    fn heard(&self) {
        self.patience.heard();
    }

    fn answers(&self) -> u64 {
        self.patience.answers()
    }

    fn set_read_only(&self, read_only: bool) {
        if read_only {
            self.patience.fence();
        }
        self.replace_if(|_| true, Some(read_only));
    }

    async fn close(&self) {
        let pool = {
            let present = self.present();
            // It is closed with the call. A fresh one may not take its place in between.
            drop(present.pool.close());
            present.pool.clone()
        };
        self.parking.close();
        pool.close().await;
    }

    fn prober(&self) -> Box<dyn Prober> {
        let options = D::session(&self.options, &self.config, self.present().read_only);
        Box::new(OwnConnection::<D>::new(
            options,
            self.config.connect_timeout,
            self.patience.follow_moves(),
        ))
    }

    fn is_watched(&self) -> bool {
        D::WATCHED
    }
}

impl<D: Driver> fmt::Debug for SqlxPool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxPool")
            .field("address", &self.patience.address())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "postgres"))]
mod tests {
    use sqlx::Postgres;
    use sqlx::postgres::PgConnectOptions;

    use super::*;

    fn pool() -> SqlxPool<Postgres> {
        SqlxPool::new(
            Arc::from("r1"),
            PgConnectOptions::new().host("127.0.0.1").port(1),
            PoolConfig::default(),
            true,
            Arc::default(),
            Histogram::noop(),
        )
    }

    #[tokio::test]
    async fn however_many_transactions_are_refused_the_pool_is_replaced_once() {
        let pool = pool();
        let begun = |moves| pool.patience.begun().after(moves);
        let old = [(); 3].map(|()| begun(pool.pool().1.moves));
        old[0].refused();
        let (fresh, first) = pool.pool();
        old[1..].iter().for_each(Patience::refused);
        let (later, same) = pool.pool();
        assert!(!fresh.is_closed() && !later.is_closed());
        assert_eq!((first.moves, same.moves, pool.moves()), (1, 1, 1));
        begun(same.moves).refused();
        assert_eq!(pool.pool().1.moves, 2, "refused by the new one too");
    }

    #[test]
    fn the_present_pool_is_told_without_a_runtime() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = runtime.block_on(async { pool() });
        pool.patience.begun().refused();
        pool.connection();
        assert_eq!(
            pool.present().moves,
            0,
            "whoever sends something replaces it"
        );
    }

    #[tokio::test]
    async fn what_was_closed_is_not_opened_again_by_a_fault_that_comes_later() {
        let pool = pool();
        pool.discard();
        assert!(!pool.present().pool.is_closed());
        pool.close().await;
        pool.discard();
        pool.set_read_only(false);
        assert!(pool.present().pool.is_closed());
    }
}
