//! A node without a server: it refuses every statement, and a test decides over what it is told and asked.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use sea_orm::{
    DatabaseConnection, DbBackend, ExecResult, QueryResult, Statement, TransactionOptions,
};

use super::{Backend, PoolLoad, Prober, Sample};
use crate::fault::Fault;
use crate::rows::Rows;
use crate::transaction::Tx;

/// The part of a node that a test plays.
pub(crate) trait Part: Debug + Send + Sync + 'static {
    fn discard(&self) {}
    fn set_read_only(&self, _read_only: bool) {}
    fn opened(&self) -> u64 {
        0
    }
    fn load(&self) -> PoolLoad {
        PoolLoad {
            size: 0,
            parked: 0,
            idle: 0,
            max: 1,
        }
    }
    fn prober(self: Arc<Self>) -> Box<dyn Prober> {
        unreachable!("nobody looks at it")
    }
}

/// What is not played is refused.
#[derive(Debug)]
pub(crate) struct Nowhere<P>(pub(crate) Arc<P>);

#[async_trait]
impl<P: Part> Backend for Nowhere<P> {
    fn kind(&self) -> DbBackend {
        DbBackend::Postgres
    }

    fn address(&self) -> &str {
        "nowhere"
    }

    async fn execute(&self, _: &Statement, _: bool) -> Result<ExecResult, Fault> {
        Err(Fault::Discarded)
    }

    async fn execute_unprepared(&self, _: &str, _: bool) -> Result<ExecResult, Fault> {
        Err(Fault::Discarded)
    }

    async fn query_one(&self, _: &Statement, _: bool) -> Result<Option<QueryResult>, Fault> {
        Err(Fault::Discarded)
    }

    async fn query_all(&self, _: &Statement, _: bool) -> Result<Vec<QueryResult>, Fault> {
        Err(Fault::Discarded)
    }

    async fn stream(&self, _: &Statement, _: bool) -> Result<Rows, Fault> {
        Err(Fault::Discarded)
    }

    async fn begin(&self, _: TransactionOptions) -> Result<Tx, Fault> {
        Err(Fault::Discarded)
    }

    fn connection(&self) -> DatabaseConnection {
        DatabaseConnection::default()
    }

    fn load(&self) -> PoolLoad {
        self.0.load()
    }

    async fn sample(&self) -> Result<Sample, Fault> {
        Err(Fault::Discarded)
    }

    fn discard(&self) {
        self.0.discard();
    }

    fn opened(&self) -> u64 {
        self.0.opened()
    }

    fn set_read_only(&self, read_only: bool) {
        self.0.set_read_only(read_only);
    }

    async fn close(&self) {}

    fn prober(&self) -> Box<dyn Prober> {
        Arc::clone(&self.0).prober()
    }

    fn is_watched(&self) -> bool {
        true
    }
}
