//! The five things that SeaORM asks of a connection, as values that can run on any node.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{AccessMode, ExecResult, IsolationLevel, QueryResult, Statement, TransactionOptions};

use crate::access::Access;
use crate::driver::Backend;
use crate::fallback::Place;
use crate::fault::Fault;
use crate::flight::Flight;
use crate::rows::Rows;
use crate::transaction::Tx;

/// What decides where a call may run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wants<'a> {
    /// The SQL text decides.
    Statement(&'a str),
    /// A transaction runs on the primary unless it promises to read only.
    Transaction { read_only: bool },
}

impl Wants<'_> {
    pub(crate) fn is_statement(self) -> bool {
        matches!(self, Self::Statement(_))
    }

    /// Whether something may have changed by it: not by a transaction that only began.
    pub(crate) fn may_change(self, access: Access) -> bool {
        self.is_statement() && access == Access::Write
    }
}

/// Something to run on one node, and perhaps on another one after that.
pub(crate) trait Call: Send + Sync {
    type Output: Send;

    fn wants(&self) -> Wants<'_>;

    /// Whether a read may run on two nodes at once, the slower being dropped: not what opens something.
    fn may_run_twice(&self) -> bool {
        true
    }

    /// Whether what it opened goes on after the call.
    const GOES_ON: bool = false;

    /// It counts on its node until the end.
    fn in_flight(output: Self::Output, _flight: Flight) -> Self::Output {
        output
    }

    /// It may write where it runs.
    fn writing(output: Self::Output) -> Self::Output {
        output
    }

    /// The primary stands in for a replica; what goes on after the call keeps its place for as long.
    fn standing_in(output: Self::Output, _place: Option<Place>) -> Self::Output {
        output
    }

    /// `hurried` when another node may serve it soon.
    fn on(
        &self,
        backend: &dyn Backend,
        hurried: bool,
    ) -> impl Future<Output = Result<Self::Output, Fault>> + Send;
}

/// A call of which somebody wants to know before it is sent.
pub(crate) struct Noted<'a, C> {
    pub(crate) call: &'a C,
    /// Set when it is sent; `None` for a call of which nobody wants to know.
    pub(crate) sent: Option<&'a AtomicBool>,
}

impl<C: Call> Call for Noted<'_, C> {
    const GOES_ON: bool = C::GOES_ON;

    type Output = C::Output;

    fn in_flight(output: Self::Output, flight: Flight) -> Self::Output {
        C::in_flight(output, flight)
    }

    fn writing(output: Self::Output) -> Self::Output {
        C::writing(output)
    }

    fn wants(&self) -> Wants<'_> {
        self.call.wants()
    }

    fn may_run_twice(&self) -> bool {
        self.call.may_run_twice()
    }

    fn standing_in(output: Self::Output, place: Option<Place>) -> Self::Output {
        C::standing_in(output, place)
    }

    async fn on(&self, backend: &dyn Backend, hurried: bool) -> Result<Self::Output, Fault> {
        if let Some(sent) = self.sent {
            sent.store(true, Ordering::Release);
        }
        self.call.on(backend, hurried).await
    }
}

pub(crate) struct Execute<'a>(pub(crate) &'a Statement);
pub(crate) struct ExecuteUnprepared<'a>(pub(crate) &'a str);
pub(crate) struct QueryOne<'a>(pub(crate) &'a Statement);
pub(crate) struct QueryAll<'a>(pub(crate) &'a Statement);
pub(crate) struct OpenStream<'a>(pub(crate) &'a Statement);
pub(crate) struct Begin(pub(crate) TransactionOptions);

impl Call for Execute<'_> {
    type Output = ExecResult;

    fn wants(&self) -> Wants<'_> {
        Wants::Statement(&self.0.sql)
    }

    async fn on(&self, backend: &dyn Backend, hurried: bool) -> Result<ExecResult, Fault> {
        backend.execute(self.0, hurried).await
    }
}

impl Call for ExecuteUnprepared<'_> {
    type Output = ExecResult;

    fn wants(&self) -> Wants<'_> {
        Wants::Statement(self.0)
    }

    async fn on(&self, backend: &dyn Backend, hurried: bool) -> Result<ExecResult, Fault> {
        backend.execute_unprepared(self.0, hurried).await
    }
}

impl Call for QueryOne<'_> {
    type Output = Option<QueryResult>;

    fn wants(&self) -> Wants<'_> {
        Wants::Statement(&self.0.sql)
    }

    async fn on(&self, backend: &dyn Backend, hurried: bool) -> Result<Option<QueryResult>, Fault> {
        backend.query_one(self.0, hurried).await
    }
}

impl Call for QueryAll<'_> {
    type Output = Vec<QueryResult>;

    fn wants(&self) -> Wants<'_> {
        Wants::Statement(&self.0.sql)
    }

    async fn on(&self, backend: &dyn Backend, hurried: bool) -> Result<Vec<QueryResult>, Fault> {
        backend.query_all(self.0, hurried).await
    }
}

impl Call for OpenStream<'_> {
    const GOES_ON: bool = true;

    type Output = Rows;

    fn in_flight(rows: Rows, flight: Flight) -> Rows {
        rows.in_flight(flight)
    }

    fn writing(rows: Rows) -> Rows {
        rows.writing()
    }

    fn wants(&self) -> Wants<'_> {
        Wants::Statement(&self.0.sql)
    }

    fn may_run_twice(&self) -> bool {
        false
    }

    fn standing_in(rows: Rows, place: Option<Place>) -> Rows {
        rows.standing_in(place)
    }

    async fn on(&self, backend: &dyn Backend, hurried: bool) -> Result<Rows, Fault> {
        backend.stream(self.0, hurried).await
    }
}

impl Call for Begin {
    const GOES_ON: bool = true;

    type Output = Tx;

    fn in_flight(tx: Tx, flight: Flight) -> Tx {
        tx.in_flight(flight)
    }

    fn wants(&self) -> Wants<'_> {
        // A standby cannot give SERIALIZABLE, not even for reading.
        let read_only = self.0.access_mode == Some(AccessMode::ReadOnly)
            && self.0.isolation_level != Some(IsolationLevel::Serializable);
        Wants::Transaction { read_only }
    }

    fn may_run_twice(&self) -> bool {
        false
    }

    fn standing_in(tx: Tx, place: Option<Place>) -> Tx {
        tx.standing_in(place)
    }

    async fn on(&self, backend: &dyn Backend, _hurried: bool) -> Result<Tx, Fault> {
        backend.begin(self.0).await
    }
}
