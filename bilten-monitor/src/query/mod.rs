//! Timing queries: futures, closures and anything between two points.

mod series;
mod span;
mod timed;

use std::fmt;
#[cfg(feature = "sea-orm")]
use std::future::Future;
use std::future::IntoFuture;
use std::sync::Arc;

pub use crate::statement::{Fingerprint, sql_comment};
pub use span::Span;
pub use timed::Timed;

pub(crate) use series::{Queries, QuerySeries};

#[cfg(feature = "sea-orm")]
pub(crate) use timed::{Unwinding, Verdict};

use crate::outcome::Outcome;

/// A named query that is about to run. Made by [`Monitor::query`](crate::Monitor::query).
///
/// Whatever happens there is exactly one observation: success, error with its type, cancelled or panicked.
/// What was wrapped comes back untouched.
///
/// ```
/// use bilten_monitor::Monitor;
///
/// let monitor = Monitor::builder().build()?;
/// let parsed = monitor.query("parse_answer").run_sync(|| "42".parse::<u32>());
/// assert_eq!(parsed, Ok(42));
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[must_use = "a query is timed when it runs something"]
pub struct Query(Aim);

/// Where a query is going to be counted.
enum Aim {
    Series(Arc<QuerySeries>),
    /// A name that none has begun under yet: one that never begins takes no place, and none is too many.
    Name(Arc<Queries>, &'static str),
}

/// Says how an output is to be counted.
pub type Judge<O> = fn(&O) -> Outcome;

impl Query {
    /// One whose series is known.
    #[cfg(feature = "sea-orm")]
    pub(crate) const fn new(series: Arc<QuerySeries>) -> Self {
        Self(Aim::Series(series))
    }

    pub(crate) fn named(queries: &Arc<Queries>, name: &'static str) -> Self {
        Self(match queries.known(name) {
            Some(series) => Aim::Series(Arc::clone(series)),
            None => Aim::Name(Arc::clone(queries), name),
        })
    }

    /// Times a future that returns a `Result`; an error is told by the short name of its type.
    pub fn run<F, T, E>(self, future: F) -> Timed<F::IntoFuture, Judge<Result<T, E>>>
    where
        F: IntoFuture<Output = Result<T, E>>,
    {
        Timed::new(self, future.into_future(), Outcome::of::<T, E>)
    }

    /// Times a future that cannot fail.
    pub fn run_infallible<F: IntoFuture>(
        self,
        future: F,
    ) -> Timed<F::IntoFuture, Judge<F::Output>> {
        Timed::new(self, future.into_future(), |_| Outcome::Success)
    }

    /// Times a future and lets `judge` say how it ended, for a finer error type than the type's name.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use bilten_monitor::{Monitor, Outcome};
    ///
    /// let monitor = Monitor::builder().build()?;
    /// let found = monitor.query("event_by_id").run_with(async { None::<u32> }, |event| match event {
    ///     Some(_) => Outcome::Success,
    ///     None => Outcome::Error("not_found"),
    /// });
    /// assert_eq!(found.await, None);
    /// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
    /// ```
    pub fn run_with<F, J>(self, future: F, judge: J) -> Timed<F::IntoFuture, J>
    where
        F: IntoFuture,
        J: FnOnce(&F::Output) -> Outcome,
    {
        Timed::new(self, future.into_future(), judge)
    }

    /// Times a future whose output also has rows to tell.
    #[cfg(feature = "sea-orm")]
    pub(crate) const fn run_counted<F: Future, J: Verdict<F::Output>>(
        self,
        future: F,
        verdict: J,
    ) -> Timed<F, J> {
        Timed::new(self, future, verdict)
    }

    /// Times a closure that returns a `Result`, on this thread.
    ///
    /// # Errors
    ///
    /// Whatever the closure returns, untouched.
    pub fn run_sync<T, E>(self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.run_sync_with(work, Outcome::of::<T, E>)
    }

    /// Times a closure and lets `judge` say how it ended.
    pub fn run_sync_with<T>(
        self,
        work: impl FnOnce() -> T,
        judge: impl FnOnce(&T) -> Outcome,
    ) -> T {
        let span = self.start();
        let output = work();
        span.finish(judge(&output));
        output
    }

    /// Begins an operation that the caller ends.
    pub fn start(self) -> Span {
        Span::begin(match self.0 {
            Aim::Series(series) => series,
            Aim::Name(queries, name) => Arc::clone(queries.named(name, || name.into())),
        })
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match &self.0 {
            Aim::Series(series) => &*series.name,
            Aim::Name(_, name) => name,
        };
        f.debug_tuple("Query").field(&name).finish()
    }
}
