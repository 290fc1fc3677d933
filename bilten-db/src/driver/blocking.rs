//! Waits where there is no runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What comes of a future that waits for other threads only, not for a socket or a timer; `None` when that takes too long.
pub(super) fn block_on<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    let end = Instant::now() + limit;
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn another_thread_is_waited_for_but_not_for_ever() {
        let (send, receive) = oneshot::channel();
        let other = thread::spawn(move || send.send(7));
        let limit = Duration::from_secs(60);
        assert_eq!(block_on(receive, limit), Some(Ok(7)));
        other.join().unwrap().unwrap();
        assert_eq!(block_on(pending::<()>(), Duration::from_millis(5)), None);
    }
}
