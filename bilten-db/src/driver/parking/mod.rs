//! Connections that were used just now, at hand for the statements that come next.
//!
//! The driver asks the server once more whenever a connection goes back to its pool, from a task of its own. Statements that
//! follow each other, as those of one request do, need neither: for a moment the connection waits here, and then it goes back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Driver;
use super::way_back::{Origin, back_in_time};

/// How long a connection waits at least.
const MOMENT: Duration = Duration::from_millis(1);
/// Four moments after it was left here a connection serves nobody any more, and so long after it left its pool it goes back: whoever
/// waits for it there, unknown to us, gets it then.
const MOST: u32 = 4;
/// After so many moments without a sign of it the task that takes connections back counts as gone, with its runtime or for as long as
/// nobody runs that.
const GONE: u32 = 10;

/// What waits of the connections of a node.
pub(super) struct Parking<D: Driver> {
    lot: Mutex<Lot<D>>,
    /// How many wait here.
    count: AtomicU32,
    /// `None` where nothing waits.
    moment: Option<Duration>,
}

struct Lot<D: Driver> {
    /// The one that was used last is taken first.
    parked: Vec<Parked<D>>,
    /// How many wait for a connection of a full pool: they come first.
    waiting: u32,
    /// When the task that takes them back last did.
    watched: Option<Instant>,
    /// Nothing waits here any more.
    closed: bool,
}

struct Parked<D: Driver> {
    conn: PoolConnection<D>,
    origin: Origin,
    /// When it left its pool.
    out: Instant,
    /// When it came here; `None` when its runtime may be gone.
    since: Option<Instant>,
}

impl<D: Driver> Parked<D> {
    fn is_younger(&self, age: Duration, now: Instant) -> bool {
        let age_of = |since: Instant| now.saturating_duration_since(since);
        self.since.is_some_and(|since| age_of(since) <= age)
    }
}

impl<D: Driver> Parking<D> {
    /// Nothing waits where each connection is to be pinged that idled for less than that.
    pub(super) fn new(ping_if_idle: Option<Duration>) -> Self {
        let is_pinged = ping_if_idle.is_some_and(|idle| idle <= 2 * MOST * MOMENT);
        Self::of((D::READS_ALL && !is_pinged).then_some(MOMENT))
    }

    fn of(moment: Option<Duration>) -> Self {
        let lot = Lot {
            parked: Vec::new(),
            waiting: 0,
            watched: None,
            closed: false,
        };
        Self {
            lot: Mutex::new(lot),
            count: AtomicU32::new(0),
            moment,
        }
    }

    /// How many are at hand.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// One of the pool of this origin, and when it left that, unless somebody waits for one.
    pub(super) fn take(&self, origin: Origin) -> Option<(PoolConnection<D>, Instant)> {
        if self.count() == 0 {
            return None;
        }
        let now = Instant::now();
        let mut lot = self.lot();
        let parked = match lot.waiting {
            0 => self.pop(&mut lot, origin, now),
            _ => None,
        };
        if let Some(parked) = parked {
            return Some((parked.conn, parked.out));
        }
        let late = self.remove(&mut lot, |parked| !parked.is_younger(self.longest(), now));
        drop(lot);
        send_back(late);
        None
    }

    /// For somebody for whom the pool has none: what waits here, and a place before all others where the pool is full.
    pub(super) fn come_first(
        &self,
        origin: Origin,
        is_full: bool,
    ) -> (Option<PoolConnection<D>>, Option<Queued<'_, D>>) {
        let mut lot = self.lot();
        let parked = self.pop(&mut lot, origin, Instant::now());
        lot.waiting += u32::from(is_full);
        drop(lot);
        let queued = is_full.then(|| Queued(self));
        (parked.map(|parked| parked.conn), queued)
    }

    /// Keeps a connection that left its pool at `out` for a moment; gives it back when it is wanted elsewhere.
    pub(super) fn put(
        self: &Arc<Self>,
        conn: PoolConnection<D>,
        origin: Origin,
        out: Instant,
    ) -> Option<PoolConnection<D>> {
        let now = Instant::now();
        let (Some(moment), Ok(runtime)) = (self.moment, Handle::try_current()) else {
            return Some(conn);
        };
        if now.saturating_duration_since(out) > self.longest() {
            return Some(conn);
        }
        let mut lot = self.lot();
        if lot.waiting > 0 || lot.closed {
            return Some(conn);
        }
        lot.parked.push(Parked {
            conn,
            origin,
            out,
            since: Some(now),
        });
        self.counted(&lot);
        let is_near = |last: Instant| now.saturating_duration_since(last) <= GONE * moment;
        if !lot.watched.is_some_and(is_near) {
            lot.watched = Some(now);
            drop(lot);
            let parking = Arc::clone(self);
            let watch = Watch {
                parking,
                is_over: false,
            };
            runtime.spawn(watch.until_empty(moment));
        }
        None
    }

    /// Sends all back: their pool is given up.
    pub(super) fn clear(&self) {
        let all = self.remove(&mut self.lot(), |_| true);
        send_back(all);
    }

    /// Sends all back, and keeps none of those that are in use now: who closes their pool waits for each.
    pub(super) fn close(&self) {
        self.lot().closed = true;
        self.clear();
    }

    fn pop(&self, lot: &mut Lot<D>, origin: Origin, now: Instant) -> Option<Parked<D>> {
        let serves =
            |parked: &Parked<D>| parked.origin == origin && parked.is_younger(self.longest(), now);
        let at = lot.parked.iter().rposition(serves)?;
        let parked = lot.parked.remove(at);
        self.counted(lot);
        Some(parked)
    }

    fn remove(&self, lot: &mut Lot<D>, is_due: impl Fn(&Parked<D>) -> bool) -> Vec<Parked<D>> {
        let due = lot.parked.extract_if(.., |parked| is_due(parked)).collect();
        self.counted(lot);
        due
    }

    fn longest(&self) -> Duration {
        self.moment.unwrap_or_default() * MOST
    }

    fn counted(&self, lot: &Lot<D>) {
        let count = u32::try_from(lot.parked.len()).unwrap_or(u32::MAX);
        self.count.store(count, Ordering::Relaxed);
    }

    fn lot(&self) -> MutexGuard<'_, Lot<D>> {
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Driver> Drop for Parking<D> {
    fn drop(&mut self) {
        send_back(std::mem::take(&mut self.lot().parked));
    }
}

/// Each in a task of its own; without a runtime they are closed.
fn send_back<D: Driver>(parked: Vec<Parked<D>>) {
    for parked in parked {
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(back_in_time(parked.conn))),
            Err(_) => drop(parked.conn.detach()),
        }
    }
}

/// Comes before those who would take what waits here.
pub(super) struct Queued<'a, D: Driver>(&'a Parking<D>);

impl<D: Driver> Drop for Queued<'_, D> {
    fn drop(&mut self) {
        self.0.lot().waiting -= 1;
    }
}

/// The task that takes connections back.
struct Watch<D: Driver> {
    parking: Arc<Parking<D>>,
    is_over: bool,
}

impl<D: Driver> Watch<D> {
    async fn until_empty(mut self, moment: Duration) {
        while !self.is_over {
            sleep(moment).await;
            self.take_back(moment);
        }
    }

    fn take_back(&mut self, moment: Duration) {
        let now = Instant::now();
        let mut lot = self.parking.lot();
        let late = self
            .parking
            .remove(&mut lot, |parked| !parked.is_younger(moment, now));
        self.is_over = lot.parked.is_empty();
        lot.watched = (!self.is_over).then_some(now);
        drop(lot);
        send_back(late);
    }
}

impl<D: Driver> Drop for Watch<D> {
    /// Its runtime ends, and with that the sockets that were opened there, though they may seem to answer once more. An embedded
    /// database has none: what waits serves nobody, and the next to come sends it back.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut lot = self.parking.lot();
        lot.watched = None;
        lot.parked.iter_mut().for_each(|parked| parked.since = None);
        if D::DETACH {
            let left = self.parking.remove(&mut lot, |_| true);
            drop(lot);
            for parked in left {
                drop(parked.conn.detach());
            }
        }
    }
}

#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
mod tests;
