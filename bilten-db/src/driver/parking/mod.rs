//! Connections that were used just now, at hand for the statements that come next.
//!
//! The driver asks the server once more whenever a connection goes back to its pool, from a task of its own. Statements that
//! follow each other, as those of one request do, need neither: for a moment the connection waits here, and then it goes back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Driver;
use super::blocking::block_on;
use super::way_back::{Origin, RETURN_LIMIT, back_in_time};

/// How long a connection waits at least.
const MOMENT: Duration = Duration::from_millis(1);
/// Four moments after it was left here a connection serves nobody any more, and none is left here so long after it left its pool:
/// what takes it in that time may run for longer, so nothing is kept here while somebody waits for a full pool, or may wait there.
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
    /// Through how many handles of the pool somebody may wait for a connection, unknown to us.
    handles: Arc<AtomicU32>,
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
    /// When it came here.
    since: Instant,
}

impl<D: Driver> Parked<D> {
    fn is_younger(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) <= age
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
            handles: Arc::default(),
        }
    }

    /// How many are at hand.
    pub(super) fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// One of the pool of this origin, and when it left that, unless somebody waits for one.
    pub(super) fn take(
        &self,
        origin: Origin,
        pool: &Pool<D>,
    ) -> Option<(PoolConnection<D>, Instant)> {
        if self.count() == 0 {
            return None;
        }
        let now = Instant::now();
        let is_wanted = self.is_wanted(pool);
        let mut lot = self.lot();
        let parked = match lot.waiting > 0 || is_wanted {
            false => self.pop(&mut lot, origin, now),
            true => None,
        };
        if let Some(parked) = parked {
            return Some((parked.conn, parked.out));
        }
        let due = self.remove(&mut lot, |parked| {
            is_wanted || !parked.is_younger(self.longest(), now)
        });
        drop(lot);
        send_back(due);
        None
    }

    /// All of the pool of this origin, however long they wait.
    pub(super) fn take_all(&self, origin: Origin) -> Vec<PoolConnection<D>> {
        let all = self.remove(&mut self.lot(), |parked| parked.origin == origin);
        all.into_iter().map(|parked| parked.conn).collect()
    }

    /// For somebody for whom the pool has none: what waits here, and a place before all others where the pool is full.
    pub(super) fn come_first(
        &self,
        origin: Origin,
        is_full: bool,
    ) -> (Option<PoolConnection<D>>, Option<Queued<'_, D>>) {
        let now = Instant::now();
        let mut lot = self.lot();
        let parked = self.pop(&mut lot, origin, now);
        // Its runtime may be one that nobody runs.
        let late = self.remove(&mut lot, |parked| !parked.is_younger(self.longest(), now));
        lot.waiting += u32::from(is_full);
        drop(lot);
        send_back(late);
        let queued = is_full.then(|| Queued(self));
        (parked.map(|parked| parked.conn), queued)
    }

    /// Keeps a connection that left its pool at `out` for a moment; gives it back when it is wanted elsewhere.
    pub(super) fn put(
        self: &Arc<Self>,
        conn: PoolConnection<D>,
        origin: Origin,
        out: Instant,
        pool: &Pool<D>,
    ) -> Option<PoolConnection<D>> {
        let now = Instant::now();
        let (Some(moment), Ok(runtime)) = (self.moment, Handle::try_current()) else {
            return Some(conn);
        };
        if now.saturating_duration_since(out) > self.longest() || self.is_wanted(pool) {
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
            since: now,
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

    /// Somebody gets a handle of the pool itself; whether that is still there is told by what this returns.
    pub(super) fn hand_out(&self) -> Handed {
        self.handles.fetch_add(1, Ordering::Relaxed);
        if Handle::try_current().is_ok() {
            self.clear();
        }
        Handed(Arc::clone(&self.handles))
    }

    /// Whether somebody may wait at the pool for what is here, unknown to us.
    fn is_wanted(&self, pool: &Pool<D>) -> bool {
        let is_empty = || {
            let max = pool.options().get_max_connections();
            pool.num_idle() == 0 && pool.size() >= max
        };
        self.handles.load(Ordering::Relaxed) > 0 && is_empty()
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

/// A handle of the pool is there for as long as this.
#[derive(Debug)]
pub(super) struct Handed(Arc<AtomicU32>);

impl Drop for Handed {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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
    /// database has none: what waits goes back here and now, as nobody may ever come for it who knows of it.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut lot = self.parking.lot();
        lot.watched = None;
        let left = self.parking.remove(&mut lot, |_| true);
        drop(lot);
        for mut parked in left {
            match D::DETACH {
                true => drop(parked.conn.detach()),
                // In vain, it is closed.
                false => block_on(parked.conn.return_to_pool(), RETURN_LIMIT).unwrap_or_default(),
            }
        }
    }
}

#[cfg(all(test, feature = "postgres", feature = "sqlite"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
mod tests;
