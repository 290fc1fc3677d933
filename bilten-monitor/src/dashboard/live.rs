//! The thread that looks, and those who watch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::watch;

use super::board::Board;
use super::sampler::Sampler;
use crate::hub::Hub;

/// How often the page gets something new; each message is a sign of life as well.
const PERIOD: Duration = Duration::from_secs(1);
const THREAD: &str = "bilten-live";

/// Shared by every clone of a dashboard and every open page.
#[derive(Debug)]
pub(super) struct Live {
    sampler: Mutex<Sampler>,
    published: watch::Sender<Published>,
    taken: AtomicUsize,
}

/// The last second, written once for all pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    pub(super) number: u64,
    pub(super) tick: Bytes,
    pub(super) closed: bool,
}

impl Live {
    /// Starts the thread; it ends with the last handle on this, or when this is closed.
    pub(super) fn start(hub: Arc<Hub>) -> Arc<Self> {
        let live = Self::new(hub);
        let weak = Arc::downgrade(&live);
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        if let Err(error) = thread.spawn(move || watch_over(&weak)) {
            tracing::warn!(target: "bilten_monitor", %error, "no thread for the live page: it is closed");
            // A stream of which nobody ever sends would hold a server up that waits for its responses.
            live.close();
        }
        live
    }

    /// One that has looked once, and at which nobody looks again.
    pub(super) fn new(hub: Arc<Hub>) -> Arc<Self> {
        let live = Arc::new(Self {
            sampler: Mutex::new(Sampler::new(hub, Board::of_process())),
            published: watch::Sender::default(),
            taken: AtomicUsize::new(0),
        });
        live.look();
        live
    }

    pub(super) fn look(&self) {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut sampler = self.sampler();
        let Some(tick) = sampler.look(at) else { return };
        // Within the lock: whoever gets everything also gets the number of the last second in it.
        self.published.send_modify(|published| {
            published.number += 1;
            published.tick = tick.into();
        });
    }

    /// Everything, and the number of the last second in it.
    pub(super) fn full(&self, title: &str, details: bool) -> (u64, Vec<u8>) {
        let sampler = self.sampler();
        let text = sampler.full(title, details);
        (self.published.borrow().number, text)
    }

    pub(super) fn alerts(&self, details: bool) -> (u64, Vec<u8>) {
        self.sampler().alerts(details)
    }

    pub(super) fn alerts_version(&self) -> u64 {
        self.sampler().alerts_version()
    }

    /// Ends every open page's stream, and lets no new one begin.
    pub(super) fn close(&self) {
        self.published
            .send_modify(|published| published.closed = true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.published.borrow().closed
    }

    /// A place for one more page, unless there are that many already.
    pub(super) fn seat(self: &Arc<Self>, most: usize) -> Option<Seat> {
        let one_more = |taken| (taken < most).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .ok()?;
        let seat = Seat {
            published: self.published.subscribe(),
            live: Arc::clone(self),
        };
        // Asked after it listens: of a `close` that came before, it would never hear.
        let is_closed = seat.published.borrow().closed;
        (!is_closed).then_some(seat)
    }

    fn sampler(&self) -> MutexGuard<'_, Sampler> {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch_over(live: &Weak<Live>) {
    loop {
        std::thread::sleep(PERIOD);
        match live.upgrade() {
            Some(live) if !live.is_closed() => {
                // A clock of the program's may panic; the next second is another one.
                if catch_unwind(AssertUnwindSafe(|| live.look())).is_err() {
                    tracing::error!(target: "bilten_monitor", "a look for the live page panicked: this second is not on it");
                }
            }
            _ => return,
        }
    }
}

/// One open page; dropping it makes room.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) live: Arc<Live>,
    pub(super) published: watch::Receiver<Published>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.live.taken.fetch_sub(1, Ordering::SeqCst);
    }
}
