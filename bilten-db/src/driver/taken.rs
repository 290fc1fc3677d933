//! Tells from outside whether the driver, which goes on at once, has its connection already.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

tokio::task_local! {
    static TAKEN: Arc<AtomicBool>;
}

/// Called with each connection that a pool is about to give out.
pub(super) fn note() {
    // An error: nobody wants to know.
    let _ = TAKEN.try_with(|taken| taken.store(true, Ordering::Relaxed));
}

/// Whether a connection was taken.
#[derive(Debug, Default)]
pub(super) struct Taken(Arc<AtomicBool>);

impl Taken {
    /// Hears of the connections that `future` takes.
    pub(super) fn told_by<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        TAKEN.scope(Arc::clone(&self.0), future)
    }

    /// The end of `future`; `None` once it has its connection and goes on.
    pub(super) async fn or_done<F: Future>(&self, mut future: Pin<&mut F>) -> Option<F::Output> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.0.load(Ordering::Relaxed) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_future_is_left_when_it_has_its_connection_and_goes_on_later() {
        let taken = Taken::default();
        let mut work = pin!(taken.told_by(async {
            tokio::task::yield_now().await;
            note();
            tokio::task::yield_now().await;
            7
        }));
        assert_eq!(taken.or_done(work.as_mut()).await, None);
        assert_eq!(work.await, 7);
        note();
    }

    #[tokio::test]
    async fn what_ends_before_is_told() {
        let taken = Taken::default();
        let work = pin!(taken.told_by(async { 7 }));
        assert_eq!(taken.or_done(work).await, Some(7));
    }
}
