//! A transaction whose statements end in time.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, StreamTrait, TransactionError, TransactionOptions, TransactionSession,
    TransactionStream, TransactionTrait,
};

use tokio::sync::OwnedSemaphorePermit;

use crate::Error;
use crate::begins::begins;
use crate::error::internal;
use crate::fallback::Place;
use crate::fault::{Trouble, trouble_of};
use crate::flight::Flight;
use crate::patience::Patience;

/// What [`TransactionTrait::begin`] of a [`Cluster`](crate::Cluster) or a [`Session`](crate::Session) gives: SeaORM's
/// transaction, with a limit for each of its statements.
///
/// It goes wherever SeaORM takes a connection, and `&tx` also where a function asks for a `&DatabaseTransaction`; in there
/// the limit does not hold. The limit is [`PoolConfig::query_timeout`](crate::PoolConfig::query_timeout), and less when
/// the node falls silent; of a stream only the beginning is bounded. After that every statement fails at once, and the server
/// rolls back when it notices. So it is after a savepoint whose beginning failed or was given up, and when another node
/// became the primary meanwhile, unless the transaction only reads. When the end of a savepoint is refused, PostgreSQL rolls
/// that one back and the outer transaction goes on; elsewhere it is lost too.
///
/// Dropped without a commit, it is rolled back.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::sea_orm::{ConnectionTrait, TransactionTrait};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let tx = db.begin().await?;
/// tx.execute_unprepared("CREATE TABLE event (id integer primary key)").await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
pub struct Tx {
    inner: DatabaseTransaction,
    watch: Watch,
    /// It is a savepoint of another one.
    nested: bool,
    /// The primary stands in for a replica until the end of it.
    place: Option<Place>,
    /// Its connection is one of so many that are allowed.
    permit: Option<OwnedSemaphorePermit>,
    /// It runs on the node until the end.
    flight: Option<Flight>,
}

struct Watch {
    /// `None` on a connection that the user brought, which has limits of its own.
    patience: Option<Patience>,
    /// How often the node had fallen silent when the transaction began.
    silences: u64,
    /// It was begun where writes are taken, and not to read only.
    writes: bool,
    /// A statement had no answer; whatever comes now is not the answer to the next one. Or a nested transaction was given
    /// up while it began, and the driver rolled this one back in its place. Shared with nested transactions, which use the
    /// same connection.
    broken: Arc<AtomicBool>,
    /// The server answered a statement with an error. Shared as well.
    failed: Arc<AtomicBool>,
}

/// Breaks the transaction unless what was begun or ended inside of it came to a good end.
struct Beginning<'a>(Option<&'a AtomicBool>);

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if let Some(broken) = self.0 {
            broken.store(true, Ordering::Relaxed);
        }
    }
}

impl Watch {
    fn renewed(&self) -> Self {
        Self {
            patience: self.patience.clone(),
            silences: self.silences,
            writes: self.writes,
            broken: Arc::clone(&self.broken),
            failed: Arc::clone(&self.failed),
        }
    }

    /// As [`answered`](Self::answered), and takes note of an error.
    async fn wait<T>(&self, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let outcome = self.answered(answer).await;
        if outcome.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// An error unless PostgreSQL goes on with the transaction. After an error that nobody undid it does not, and answers
    /// the end of it as if all were well. With whatever error it ends here, its end was not asked for: nothing is committed.
    async fn is_whole(&self, inner: &DatabaseTransaction) -> Result<(), DbErr> {
        let is_postgres = ConnectionTrait::get_database_backend(inner) == DbBackend::Postgres;
        if !is_postgres || !self.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.wait(inner.execute_unprepared("select 1")).await {
            Err(error) if is_aborted(&error) => Err(internal(format!(
                "{}an earlier statement of this transaction failed, so PostgreSQL undoes all of it: nothing is committed",
                self.place()
            ))),
            asked => asked.map(drop),
        }
    }

    /// The answer, in time.
    async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        if self.is_broken() {
            return Err(internal(format!(
                "{}an earlier statement of this transaction had no answer, or a nested one failed or was given up, so it is lost: begin anew",
                self.place()
            )));
        }
        let Some(patience) = &self.patience else {
            return answer.await;
        };
        if self.is_fenced() {
            return Err(internal(format!(
                "{}another node became the primary since this transaction began, so what it writes would be lost: begin anew",
                self.place()
            )));
        }
        let silences = patience.silences_since(self.silences);
        let fault = match patience.wait_inside(silences, answer).await {
            Ok(outcome) => {
                self.learn(patience, outcome.as_ref().err());
                return outcome;
            }
            Err(fault) => fault,
        };
        self.broken.store(true, Ordering::Relaxed);
        Err(patience.db_err(fault))
    }

    /// As [`wait`](Self::wait), for what begins or ends a savepoint. Unless it succeeds, the driver may have rolled back the
    /// whole transaction, and what comes later would be done outside of it.
    async fn wait_whole<T>(
        &self,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let mut unless = Beginning(Some(&self.broken));
        let outcome = self.wait(answer).await;
        if outcome.is_ok() {
            unless.0 = None;
        }
        outcome
    }

    /// As [`wait_whole`](Self::wait_whole), for the end of a savepoint. PostgreSQL that refuses it keeps the savepoint, to
    /// which the driver rolls back then; MySQL has none any more after a statement that commits by itself.
    async fn wait_end(
        &self,
        backend: DbBackend,
        answer: impl Future<Output = Result<(), DbErr>>,
    ) -> Result<(), DbErr> {
        let mut unless = Beginning(Some(&self.broken));
        let outcome = self.wait(answer).await;
        let is_kept = |error: &DbErr| {
            backend == DbBackend::Postgres && !self.is_lost() && trouble_of(error) != Trouble::Lost
        };
        if outcome.as_ref().err().is_none_or(is_kept) {
            unless.0 = None;
        }
        outcome
    }

    /// Whether nothing can be done in it any more.
    fn is_lost(&self) -> bool {
        self.is_broken() || self.is_fenced()
    }

    /// The cluster hears of what only transactions meet.
    fn learn(&self, patience: &Patience, error: Option<&DbErr>) {
        match error.map(trouble_of) {
            None | Some(Trouble::Answer | Trouble::NotHere) => patience.answered(),
            Some(Trouble::ReadOnly) if self.writes => patience.refused(),
            Some(Trouble::Lost) => patience.suspect(),
            Some(_) => {}
        }
    }

    /// Whether what it writes would be lost. What only reads goes on.
    fn is_fenced(&self) -> bool {
        self.writes && self.patience.as_ref().is_some_and(Patience::is_fenced)
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn place(&self) -> String {
        let at = |patience: &Patience| format!("{} at {}: ", patience.node(), patience.address());
        self.patience.as_ref().map(at).unwrap_or_default()
    }
}

impl Tx {
    pub(crate) fn new(
        inner: DatabaseTransaction,
        patience: Option<(Patience, u64)>,
        writes: bool,
    ) -> Self {
        let (patience, silences) = patience.unzip();
        let watch = Watch {
            patience,
            silences: silences.unwrap_or_default(),
            writes,
            broken: Arc::default(),
            failed: Arc::default(),
        };
        Self {
            inner,
            watch,
            nested: false,
            place: None,
            permit: None,
            flight: None,
        }
    }

    /// Counts on its node until the end.
    pub(crate) fn in_flight(mut self, flight: Flight) -> Self {
        self.flight = Some(flight);
        self
    }

    /// Holds its connection's permit until the end.
    pub(crate) fn holding(mut self, permit: Option<OwnedSemaphorePermit>) -> Self {
        self.permit = permit;
        self
    }

    /// Takes a place among the reads that the primary serves for lack of a replica, until the end.
    pub(crate) fn standing_in(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Makes everything that was done here visible to others.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] inside when the server was asked and no answer came: it may be committed. With PostgreSQL,
    /// whose transactions end with the first error inside, when there was one that no savepoint undid: nothing is committed.
    /// What functions did that take a `&DatabaseTransaction` is not looked at.
    ///
    /// # Cancellation
    ///
    /// Dropped early, it may be committed or rolled back.
    pub async fn commit(self) -> Result<(), DbErr> {
        let Self {
            inner,
            watch,
            nested,
            place: _place,
            permit: _permit,
            flight: _flight,
        } = self;
        if nested {
            let backend = ConnectionTrait::get_database_backend(&inner);
            return watch.wait_end(backend, inner.commit()).await;
        }
        if watch.is_lost() {
            return watch.wait(std::future::pending()).await;
        }
        watch.is_whole(&inner).await?;
        let source = match watch.wait(inner.commit()).await {
            Err(error) if is_unanswered(&watch, &error) => error,
            outcome => return outcome,
        };
        Err(match watch.patience {
            Some(patience) => Error::OutcomeUnknown {
                node: patience.node().to_owned(),
                address: patience.address().to_owned(),
                source,
            }
            .into(),
            None => source,
        })
    }

    /// Undoes everything that was done here.
    ///
    /// # Errors
    ///
    /// When the server cannot be told; it rolls back by itself then.
    ///
    /// # Cancellation
    ///
    /// Dropped early, it is rolled back all the same.
    pub async fn rollback(self) -> Result<(), DbErr> {
        let Self {
            inner,
            watch,
            place: _place,
            permit: _permit,
            flight: _flight,
            ..
        } = self;
        if watch.is_fenced() && !watch.is_broken() {
            // It is rolled back where it is dropped, and nobody minds how that ends.
            return Ok(());
        }
        watch.wait(inner.rollback()).await
    }
}

/// SQLSTATE 25P02: whatever comes now is refused.
fn is_aborted(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) =
        error
    else {
        return false;
    };
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("25P02")
}

fn is_unanswered(watch: &Watch, error: &DbErr) -> bool {
    watch.is_broken() || trouble_of(error) == Trouble::Lost
}

impl Deref for Tx {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}

#[async_trait]
impl ConnectionTrait for Tx {
    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.inner)
    }

    async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
        self.watch.wait(self.inner.execute_raw(stmt)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.watch.wait(self.inner.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.watch.wait(self.inner.query_one_raw(stmt)).await
    }

    async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.watch.wait(self.inner.query_all_raw(stmt)).await
    }

    fn support_returning(&self) -> bool {
        self.inner.support_returning()
    }
}

impl StreamTrait for Tx {
    type Stream<'a> = TransactionStream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.inner)
    }

    fn stream_raw<'a>(
        &'a self,
        stmt: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(self.watch.wait(self.inner.stream_raw(stmt)))
    }
}

begins!(Tx, Tx);

impl Tx {
    /// A savepoint.
    async fn begin_tx(&self, options: TransactionOptions) -> Result<Self, DbErr> {
        let begun = self.inner.begin_with_options(options);
        Ok(Self {
            inner: self.watch.wait_whole(begun).await?,
            watch: self.watch.renewed(),
            nested: true,
            place: None,
            permit: None,
            flight: None,
        })
    }

    /// Commits what succeeded and rolls back what did not.
    pub(crate) async fn end<T, E>(self, outcome: Result<T, E>) -> Result<T, TransactionError<E>>
    where
        E: fmt::Display + fmt::Debug,
    {
        match outcome {
            Ok(value) => self
                .commit()
                .await
                .map(|()| value)
                .map_err(TransactionError::Connection),
            // It is rolled back already, and the caller's own error says more.
            Err(error) if self.watch.is_lost() => Err(TransactionError::Transaction(error)),
            Err(error) => match self.rollback().await {
                Ok(()) => Err(TransactionError::Transaction(error)),
                Err(broken) => Err(TransactionError::Connection(broken)),
            },
        }
    }
}

#[async_trait]
impl TransactionSession for Tx {
    async fn commit(self) -> Result<(), DbErr> {
        Self::commit(self).await
    }

    async fn rollback(self) -> Result<(), DbErr> {
        Self::rollback(self).await
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").finish_non_exhaustive()
    }
}
