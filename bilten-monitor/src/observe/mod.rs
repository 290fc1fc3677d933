//! Times every statement that goes through a SeaORM connection.

mod connection;
mod fault;
mod statements;
mod stream;
mod transaction;

use std::sync::Arc;

use sea_orm::DbBackend;
pub use stream::ObservedStream;

use crate::monitor::Monitor;
use crate::query::Query;
use statements::Statements;

impl Monitor {
    /// Wraps a connection, a pool, a transaction or a cluster of databases: every statement is timed under a
    /// name of its own, such as `SELECT events 1f2e3d4c`.
    ///
    /// The name has the operation, the table and eight digits of the statement's fingerprint, and never a value.
    #[must_use]
    pub fn observe<C>(&self, connection: C) -> Observed<C> {
        Observed {
            inner: connection,
            monitor: self.clone(),
            statements: Arc::default(),
        }
    }
}

/// A SeaORM connection whose statements are timed. Made by [`Monitor::observe`].
///
/// It has the traits that the inner connection has: `ConnectionTrait`, `StreamTrait`, `TransactionTrait` and
/// `TransactionSession`. Results and errors come back untouched.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_monitor::Monitor;
/// use sea_orm::{ConnectionTrait, Database};
///
/// let monitor = Monitor::builder().build()?;
/// let db = monitor.observe(Database::connect("sqlite::memory:").await?);
/// db.execute_unprepared("CREATE TABLE events (id integer)").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Observed<C> {
    inner: C,
    monitor: Monitor,
    statements: Arc<Statements>,
}

impl<C> Observed<C> {
    /// The connection inside.
    #[must_use]
    pub const fn inner(&self) -> &C {
        &self.inner
    }

    /// Takes the connection out.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.inner
    }

    fn query(&self, sql: &str, backend: DbBackend) -> Query {
        Query::new(self.statements.series(&self.monitor, sql, backend))
    }

    /// One of the words around a transaction, which are the same to all databases.
    fn word(&self, sql: &str) -> Query {
        self.query(sql, DbBackend::Sqlite)
    }

    /// The same observation for what came out of this connection.
    fn wrap<T>(&self, inner: T) -> Observed<T> {
        Observed {
            inner,
            monitor: self.monitor.clone(),
            statements: Arc::clone(&self.statements),
        }
    }
}
