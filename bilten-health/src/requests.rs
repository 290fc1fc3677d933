//! Counting the requests that are being worked on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Requests that are being worked on.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    count: AtomicUsize,
    none: Notify,
}

/// One request that is being worked on, until it is dropped. Example at
/// [`Health::request`](crate::Health::request).
#[derive(Debug)]
#[must_use = "the request counts as finished when this is dropped"]
pub struct Request(Arc<Requests>);

impl Request {
    pub(crate) fn begin(requests: Arc<Requests>) -> Self {
        requests.count.fetch_add(1, Ordering::AcqRel);
        Self(requests)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

impl Requests {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there is none.
    pub(crate) async fn finished(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            // Registered before the count is read, so that the last request cannot end unnoticed in between.
            none.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none.await;
        }
    }
}
