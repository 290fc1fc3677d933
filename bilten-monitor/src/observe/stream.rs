use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;
use sea_orm::{DbBackend, DbErr, QueryResult, Statement, StreamTrait};

use super::Observed;
use super::fault::outcome;
use crate::outcome::Outcome;
use crate::query::{Span, Unwinding};

impl<C: StreamTrait> StreamTrait for Observed<C> {
    type Stream<'a>
        = ObservedStream<C::Stream<'a>>
    where
        Self: 'a;

    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        Box::pin(async move {
            let span = self.query(&statement.sql, statement.db_backend).start();
            let opening = Opening {
                future: self.inner.stream_raw(statement),
                span: Some(span),
            };
            opening.await
        })
    }
}

/// A stream that is being opened, with the span that goes on with its rows.
struct Opening<F> {
    future: F,
    span: Option<Span>,
}

impl<S, F: Future<Output = Result<S, DbErr>> + Unpin> Future for Opening<F> {
    type Output = Result<ObservedStream<S>, DbErr>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let unwinding = Unwinding(&mut this.span);
        let polled = Pin::new(&mut this.future).poll(cx);
        mem::forget(unwinding);
        let opened = ready!(polled);
        if opened.is_err()
            && let Some(span) = this.span.take()
        {
            span.finish(outcome(&opened));
        }
        let span = this.span.take();
        Poll::Ready(opened.map(|stream| ObservedStream {
            stream,
            span,
            rows: 0,
        }))
    }
}

impl<F> Drop for Opening<F> {
    fn drop(&mut self) {
        // Not left to the span's own drop: another future's panic may be unwinding through here.
        if let Some(span) = self.span.take() {
            span.finish(Outcome::Cancelled);
        }
    }
}

pin_project! {
    /// Rows of a timed statement: its time ends with the last row.
    ///
    /// Dropping the stream before its end counts the statement as cancelled.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use bilten_monitor::Monitor;
    /// use futures_util::TryStreamExt;
    /// use sea_orm::{Database, DbBackend, Statement, StreamTrait};
    ///
    /// let db = Monitor::builder().build()?.observe(Database::connect("sqlite::memory:").await?);
    /// let mut rows = db.stream_raw(Statement::from_string(DbBackend::Sqlite, "SELECT 1")).await?;
    /// while let Some(_row) = rows.try_next().await? {}
    /// # Ok(()) }
    /// ```
    pub struct ObservedStream<S> {
        #[pin]
        stream: S,
        span: Option<Span>,
        rows: u64,
    }

    impl<S> PinnedDrop for ObservedStream<S> {
        fn drop(this: Pin<&mut Self>) {
            // Not left to the span's own drop: another future's panic may be unwinding through here.
            let this = this.project();
            if let Some(mut span) = this.span.take() {
                span.rows(*this.rows);
                span.finish(Outcome::Cancelled);
            }
        }
    }
}

impl<S: Stream<Item = Result<QueryResult, DbErr>>> Stream for ObservedStream<S> {
    type Item = Result<QueryResult, DbErr>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let unwinding = Unwinding(this.span);
        let polled = this.stream.poll_next(cx);
        mem::forget(unwinding);
        let item = ready!(polled);
        let ended = match &item {
            None => Some(Outcome::Success),
            Some(Err(_)) => item.as_ref().map(outcome),
            Some(Ok(_)) => {
                *this.rows += 1;
                None
            }
        };
        if let Some(outcome) = ended
            && let Some(mut span) = this.span.take()
        {
            span.rows(*this.rows);
            span.finish(outcome);
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<S> fmt::Debug for ObservedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedStream")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}
