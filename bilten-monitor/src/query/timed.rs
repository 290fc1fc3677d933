use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::Query;
use super::span::Span;
use crate::outcome::Outcome;

pin_project! {
    /// A future that is timed from its first poll until it is ready, dropped or panics.
    ///
    /// Made by [`Query::run`] and its siblings. A future that is never polled never began and is not counted.
    ///
    /// # Cancellation
    ///
    /// Dropping it counts the operation as cancelled, with the time it had taken.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let monitor = bilten_monitor::Monitor::builder().build()?;
    /// let timed = monitor.query("answer").run(async { Ok::<_, std::io::Error>(42) });
    /// assert_eq!(timed.await.ok(), Some(42));
    /// # Ok::<(), bilten_monitor::Error>(()) }).unwrap();
    /// ```
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct Timed<F, J> {
        #[pin]
        future: F,
        judge: Option<J>,
        query: Option<Query>,
        span: Option<Span>,
    }

    impl<F, J> PinnedDrop for Timed<F, J> {
        fn drop(this: Pin<&mut Self>) {
            // Not left to the span's own drop: another future's panic may be unwinding through here.
            if let Some(span) = this.project().span.take() {
                span.finish(Outcome::Cancelled);
            }
        }
    }
}

impl<F, J> Timed<F, J> {
    pub(crate) const fn new(query: Query, future: F, judge: J) -> Self {
        Self {
            future,
            judge: Some(judge),
            query: Some(query),
            span: None,
        }
    }
}

/// Says how an output is to be counted, and how many rows it has.
#[expect(
    unnameable_types,
    reason = "a program gives a closure; only statements have rows to tell"
)]
pub trait Verdict<O> {
    /// Judges the output of what this span times.
    fn judge(self, output: &O, span: &mut Span) -> Outcome;
}

impl<O, J: FnOnce(&O) -> Outcome> Verdict<O> for J {
    fn judge(self, output: &O, _: &mut Span) -> Outcome {
        self(output)
    }
}

impl<F: Future, J: Verdict<F::Output>> Future for Timed<F, J> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Some(query) = this.query.take() {
            *this.span = Some(query.start());
        }
        let unwinding = Unwinding(this.span);
        let polled = this.future.poll(cx);
        mem::forget(unwinding);
        let output = ready!(polled);
        if let (Some(mut span), Some(judge)) = (this.span.take(), this.judge.take()) {
            let outcome = judge.judge(&output, &mut span);
            span.finish(outcome);
        }
        Poll::Ready(output)
    }
}

/// Dropped only when the poll panics: an executor may catch that and drop the future later, when the thread
/// no longer unwinds.
pub(crate) struct Unwinding<'a>(pub(crate) &'a mut Option<Span>);

impl Drop for Unwinding<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            span.finish(Outcome::Panicked);
        }
    }
}

impl<F, J> fmt::Debug for Timed<F, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed")
            .field("query", &self.query)
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}
