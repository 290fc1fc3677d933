use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Work that goes on when its caller is dropped, counted so that a shutdown can wait for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    running: Arc<Running>,
}

#[derive(Debug, Default)]
struct Running {
    count: AtomicUsize,
    none: Notify,
}

impl Tasks {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let mark = Mark::new(Arc::clone(&self.running));
        tokio::spawn(Marked { work, mark })
    }

    /// How many have not ended.
    pub(crate) fn running(&self) -> usize {
        self.running.count.load(Ordering::Acquire)
    }

    /// Waits until all have ended, also those that begin meanwhile.
    pub(crate) async fn finished(&self) {
        loop {
            // Before the look, so that an end in between is not missed.
            let none = self.running.none.notified();
            if self.running() == 0 {
                return;
            }
            none.await;
        }
    }
}

pin_project! {
    /// By hand: an `async` block would keep room for the work twice.
    struct Marked<F> {
        #[pin]
        work: F,
        // Dropped after the work.
        mark: Mark,
    }
}

impl<F: Future> Future for Marked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().work.poll(cx)
    }
}

/// Counts down however the task ends.
struct Mark(Arc<Running>);

impl Mark {
    fn new(running: Arc<Running>) -> Self {
        running.count.fetch_add(1, Ordering::AcqRel);
        Self(running)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_have_ended_when_the_last_one_has_however_it_did() {
        let tasks = Tasks::default();
        tasks.finished().await;
        let panics = tasks.spawn(async { panic!("on purpose") });
        let aborted = tasks.spawn(std::future::pending::<()>());
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let ends = tasks.spawn(async { told.await.is_ok() });
        assert_eq!(tasks.running(), 3);
        let waiting = tokio::spawn({
            let tasks = tasks.clone();
            async move { tasks.finished().await }
        });
        aborted.abort();
        assert!(panics.await.is_err() && aborted.await.is_err());
        assert!(!waiting.is_finished());
        tell.send(()).expect("it waits");
        waiting.await.expect("told");
        assert_eq!((ends.await.expect("ended"), tasks.running()), (true, 0));
    }
}
