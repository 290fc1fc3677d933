//! A bounded queue with its own thread: what goes out never holds up what is measured.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;

/// What a message's handler says: delivered, or not.
pub(crate) type Delivered = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// One sink's queue and the thread that empties it.
///
/// The thread ends when the outbox is dropped and what was queued is delivered. It is not joined: a sink that
/// hangs must not hang the program's end.
pub(crate) struct Outbox<T> {
    sender: SyncSender<T>,
    pending: Arc<Pending>,
}

/// How many messages were sent and are not yet handled.
#[derive(Default)]
struct Pending {
    count: AtomicUsize,
    lock: Mutex<()>,
    emptied: Condvar,
}

impl<T: Send + 'static> Outbox<T> {
    /// Starts the thread; `failed` is told of each delivery that returned an error or panicked.
    pub(crate) fn start(
        name: &'static str,
        capacity: usize,
        mut deliver: impl FnMut(T) -> Delivered + Send + 'static,
        failed: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, Error> {
        let (sender, receiver) = sync_channel(capacity);
        let pending = Arc::new(Pending::default());
        let settled = Arc::clone(&pending);
        let run = move || drain(&receiver, &settled, &mut deliver, &failed);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|source| Error::Thread { name, source })?;
        Ok(Self { sender, pending })
    }

    /// Queues a message; `false` when the queue is full. Never waits.
    pub(crate) fn offer(&self, message: T) -> bool {
        self.pending.count.fetch_add(1, Ordering::SeqCst);
        match self.sender.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.pending.settle();
                false
            }
        }
    }

    /// Waits until everything queued so far is handled, or until the time is up; `true` when it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let guard = self
            .pending
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let busy = |(): &mut ()| self.pending.count.load(Ordering::SeqCst) > 0;
        let waited = self.pending.emptied.wait_timeout_while(guard, limit, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Pending {
    fn settle(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Taking the lock orders this wake-up after the waiter's look at the count.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.emptied.notify_all();
        }
    }
}

fn drain<T>(
    receiver: &Receiver<T>,
    pending: &Pending,
    deliver: &mut impl FnMut(T) -> Delivered,
    failed: &impl Fn(&str),
) {
    while let Ok(message) = receiver.recv() {
        let _handled = Handled(pending);
        let said = catch_unwind(AssertUnwindSafe(|| deliver(message)));
        let said = said.unwrap_or_else(|_| Err("the sink panicked".into()));
        if let Err(error) = said {
            // Telling of it asks the program's clock and recorder, and the error for its text: their panics are no reason
            // to deliver nothing any more.
            let tell = AssertUnwindSafe(|| failed(&error.to_string()));
            drop(catch_unwind(tell));
        }
    }
}

/// However a delivery ends, whoever waits for it is told.
struct Handled<'p>(&'p Pending);

impl Drop for Handled<'_> {
    fn drop(&mut self) {
        self.0.settle();
    }
}

impl<T> fmt::Debug for Outbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_full_queue_refuses_at_once_and_the_rest_is_delivered_in_order() {
        let (started, has_started) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let (out, delivered) = mpsc::channel();
        let deliver = move |n: u8| {
            started.send(()).ok();
            released.recv().ok();
            out.send(n).ok();
            Ok(())
        };
        let outbox = Outbox::start("test", 1, deliver, |_| {}).expect("a thread");
        assert!(outbox.offer(1));
        has_started
            .recv_timeout(SOON)
            .expect("the first is being delivered");
        assert!(outbox.offer(2), "one place in the queue");
        assert!(!outbox.offer(3), "and no more");
        release.send(()).expect("alive");
        release.send(()).expect("alive");
        assert!(outbox.flush(SOON));
        assert_eq!(delivered.try_iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_panic_and_an_error_are_told_and_the_next_message_still_arrives() {
        let (out, told) = mpsc::channel();
        let (arrived, arrivals) = mpsc::channel();
        let deliver = move |n: u8| match n {
            1 => panic!("a sink's own fault"),
            2 => Err("refused".into()),
            n => {
                arrived.send(n).ok();
                Ok(())
            }
        };
        let failed = move |why: &str| drop(out.send(why.to_owned()));
        let outbox = Outbox::start("test", 8, deliver, failed).expect("a thread");
        for n in 1..=3 {
            assert!(outbox.offer(n));
        }
        assert!(outbox.flush(SOON));
        assert_eq!(
            told.try_iter().collect::<Vec<_>>(),
            ["the sink panicked", "refused"]
        );
        assert_eq!(arrivals.try_iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_failure_that_cannot_be_told_keeps_nothing_from_being_delivered() {
        let (arrived, arrivals) = mpsc::channel();
        let deliver = move |n: u8| match n {
            1 => Err("refused".into()),
            n => {
                arrived.send(n).ok();
                Ok(())
            }
        };
        let failed = |_: &str| panic!("the recorder's own fault");
        let outbox = Outbox::start("test", 8, deliver, failed).expect("a thread");
        assert!(outbox.offer(1) && outbox.offer(2));
        assert!(outbox.flush(SOON));
        assert_eq!(arrivals.try_iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn flush_gives_up_on_a_sink_that_hangs() {
        let (_keep, never) = mpsc::channel::<()>();
        let deliver = move |()| {
            never.recv().ok();
            Ok(())
        };
        let outbox = Outbox::start("test", 1, deliver, |_| {}).expect("a thread");
        assert!(outbox.offer(()));
        assert!(!outbox.flush(Duration::from_millis(20)));
    }
}
