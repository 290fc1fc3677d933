use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::clock::ManualClock;
use super::faults::{Faults, made_to_fail};
use super::late::{HeldBack, Requests};
use super::store::{Store, Time};
use super::trap::{Call, Moment, Trap, Traps};
use crate::remote::{
    Author, Lease, Page, Position, Pulse, Record, Remote, RemoteError, Reply, Scope, Snapshot,
    Wanted,
};

/// A second level in memory, with faults. Clones share everything, so one store serves any number of caches.
#[derive(Debug, Clone)]
pub struct FaultyRemote {
    inner: Arc<Inner>,
    cut: Arc<AtomicBool>,
    slots: bool,
    together: bool,
    reversed: bool,
    doubled: bool,
}

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    traps: Traps,
    late: Requests,
    failing: AtomicBool,
    faults: Faults,
    calls: Mutex<HashMap<Call, u64>>,
    news: watch::Sender<u64>,
}

impl Default for FaultyRemote {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultyRemote {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            store: Mutex::new(Store::new()),
            traps: Traps::default(),
            late: Requests::default(),
            failing: AtomicBool::new(false),
            faults: Faults::default(),
            calls: Mutex::default(),
            news: watch::Sender::new(0),
        };
        Self {
            inner: Arc::new(inner),
            cut: Arc::default(),
            slots: false,
            together: false,
            reversed: false,
            doubled: false,
        }
    }

    /// Tells the time of this clock instead of the machine's, to every node: for caches that have the same
    /// [clock](crate::CacheBuilder::clock), whose values then grow old in the store as they do in memory.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bilten_cache::Cache;
    /// use bilten_cache::test_util::{FaultyRemote, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let store = FaultyRemote::new().with_clock(&clock);
    /// let cache = Cache::builder("shop").remote(store.another_node()).clock(&clock).build().await?;
    /// # let _ = cache;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_clock(self, clock: &ManualClock) -> Self {
        self.store().follow(Time::moved_by(clock));
        self
    }

    /// Makes every call of every node fail, or no longer.
    pub fn fail(&self, yes: bool) {
        self.inner.failing.store(yes, Ordering::SeqCst);
    }

    /// Makes each call of this kind take so long until it gets there, of every node; zero is no time again. In a test with a paused clock it
    /// takes exactly that.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use bilten_cache::Cache;
    /// use bilten_cache::test_util::{Call, FaultyRemote};
    ///
    /// let store = FaultyRemote::new();
    /// store.takes(Call::Read, Duration::from_millis(20)); // a slow network
    /// store.fails(Call::Store, true); // a server that is full
    /// let cache = Cache::builder("shop").remote(store.clone()).build().await?;
    /// let prices = cache.region::<str, u32>("price").build()?;
    /// assert_eq!(*prices.get_or_load("tea", async |_| Ok::<_, std::io::Error>(3)).await?, 3);
    /// # Ok(()) }
    /// ```
    pub fn takes(&self, call: Call, time: Duration) {
        self.inner.faults.takes(call, time);
    }

    /// Makes each call of this kind fail before it has done anything, of every node, or no longer.
    pub fn fails(&self, call: Call, yes: bool) {
        let error = yes.then(|| made_to_fail(call));
        self.inner.faults.fails(call, error);
    }

    /// The same with an error of one's own.
    #[cfg(test)]
    pub(crate) fn fails_with(&self, call: Call, error: Option<RemoteError>) {
        self.inner.faults.fails(call, error);
    }

    /// Makes this share of all calls fail, from 0 for none to 1 for all, as chance has it. With the same seed the same ones do, as long
    /// as calls come in the same order.
    pub fn fail_some(&self, share: f64, seed: u64) {
        self.inner.faults.fail_some(share, seed);
    }

    /// Another way to the same store, with a log connection that can be cut on its own.
    #[must_use]
    pub fn another_node(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            cut: Arc::default(),
            slots: self.slots,
            together: self.together,
            reversed: self.reversed,
            doubled: self.doubled,
        }
    }

    /// The same store as a cluster shows it: keys and the log are in different slots, so that a change and its record are two
    /// steps. The second one is [`Call::Append`].
    #[must_use]
    pub fn in_slots(self) -> Self {
        Self {
            slots: true,
            ..self
        }
    }

    /// The same store, which offers that [reads go together](Remote::reads_together), each time in one [`Call::Read`].
    #[must_use]
    pub fn reading_together(self) -> Self {
        Self {
            together: true,
            ..self
        }
    }

    /// The same store, which hands this node records of the log that come together in the wrong order.
    #[must_use]
    pub fn reversing_records(self) -> Self {
        Self {
            reversed: true,
            ..self
        }
    }

    /// The same store, which hands this node each record of the log twice, and with each new one all that there are.
    #[must_use]
    pub fn doubling_records(self) -> Self {
        Self {
            doubled: true,
            ..self
        }
    }

    /// Cuts this node off from the log, or no longer. Its other calls go on.
    pub fn cut_log(&self, yes: bool) {
        self.cut.store(yes, Ordering::SeqCst);
    }

    /// Stops the next call of this kind, of any node.
    pub fn trap(&self, call: Call, moment: Moment) -> Trap {
        self.inner.traps.set(call, moment)
    }

    /// Holds the next request of this kind back, of any node. Its caller gives it up; it arrives when it is delivered.
    pub fn hold_back(&self, call: Call) -> HeldBack {
        let here = self.clone();
        self.inner.late.hold(call, move |work| {
            work(&mut here.store());
            here.tell();
        })
    }

    /// How often a method was called.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.inner
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&call)
            .copied()
            .unwrap_or(0)
    }

    /// The last record of the log; 0 before the first one.
    #[must_use]
    pub fn log_position(&self) -> u64 {
        self.store().position.map_or(0, |position| position.number)
    }

    /// The bytes under an encoded key (`region:key`).
    #[must_use]
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        self.store().values.get(key).cloned()
    }

    /// Puts any bytes under an encoded key, as a foreign program would.
    pub fn put_bytes(&self, key: &str, bytes: impl Into<Bytes>) {
        self.store().values.insert(key.to_owned(), bytes.into());
    }

    /// Loses everything at once, as `FLUSHALL` or a restart without data do.
    pub fn lose_everything(&self) {
        let mut store = self.store();
        *store = store.emptied();
    }

    /// Loses all leases and claims and nothing else, as a full server does that gives up first what ends first.
    pub fn lose_leases(&self) {
        self.store().lose_leases();
    }

    /// Loses the records of the log and keeps its position, as trimming does.
    pub fn trim_log(&self) {
        self.store().trim_log();
    }

    /// Takes the log's position back, as a fail-over to an older copy does.
    pub fn step_back(&self, records: u64) {
        self.store().step_back(records);
    }

    /// Appends a record that no version can read.
    pub fn append_unreadable(&self) {
        self.store().append_unreadable();
        self.tell();
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.inner
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.inner.news.send_modify(|news| *news += 1);
    }

    fn answer<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Reply<'_, T> {
        Box::pin(async move {
            *self
                .inner
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(call)
                .or_default() += 1;
            if let Some(slot) = self.inner.late.next(call) {
                slot.put(work);
                return std::future::pending().await;
            }
            self.inner.traps.pass(call, Moment::Before).await;
            self.inner.faults.delay(call).await;
            self.inner.faults.arrives(call)?;
            self.is_up()?;
            let answer = work(&mut self.store());
            self.tell();
            self.inner.traps.pass(call, Moment::After).await;
            self.is_up()?;
            Ok(answer)
        })
    }

    /// What a cluster does: the change in one slot, then the record in another.
    fn then_append<'a>(
        &'a self,
        change: Reply<'a, ()>,
        scope: Scope,
        author: Author,
    ) -> Reply<'a, Position> {
        Box::pin(async move {
            change.await?;
            let append = move |store: &mut Store| store.append(&scope, author);
            self.answer(Call::Append, append).await
        })
    }

    fn as_they_come(&self, mut records: Vec<Record>, most: u16) -> Vec<Record> {
        if self.doubled && !records.is_empty() {
            let mut all = self.store().tail(0, most);
            // What does not fit into one answer with those before it is new all the same.
            let last = all.last().map_or(0, |record| record.number);
            all.extend(records.into_iter().filter(|record| record.number > last));
            records = all.iter().chain(&all).cloned().collect();
        }
        if self.reversed {
            records.reverse();
        }
        records
    }

    fn is_up(&self) -> Result<(), RemoteError> {
        if self.inner.failing.load(Ordering::SeqCst) {
            return Err(RemoteError::Unavailable("made to fail".into()));
        }
        Ok(())
    }

    fn log_is_up(&self) -> Result<(), RemoteError> {
        if self.cut.load(Ordering::SeqCst) {
            return Err(RemoteError::Unavailable("cut off from the log".into()));
        }
        self.is_up()
    }
}

impl Remote for FaultyRemote {
    fn read<'a>(&'a self, key: &'a str) -> Reply<'a, Option<Bytes>> {
        let key = key.to_owned();
        self.answer(Call::Read, move |store| store.values.get(&key).cloned())
    }

    fn read_many<'a>(&'a self, keys: &'a [Arc<str>]) -> Reply<'a, Vec<Option<Bytes>>> {
        let keys = keys.to_vec();
        self.answer(Call::Read, move |store| {
            let values = keys.iter().map(|key| store.values.get(&**key).cloned());
            values.collect()
        })
    }

    fn reads_together(&self) -> bool {
        self.together
    }

    fn lease<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        over: Option<&'a [u8]>,
    ) -> Reply<'a, Lease> {
        let key = key.to_owned();
        let over = over.map(<[u8]>::to_vec);
        self.answer(Call::Lease, move |store| {
            store.lease(&key, token, hold, over.as_deref())
        })
    }

    fn store<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        envelope: Bytes,
        _: Duration,
    ) -> Reply<'a, bool> {
        let key = key.to_owned();
        self.answer(Call::Store, move |store| store.store(&key, token, envelope))
    }

    fn renew<'a>(&'a self, key: &'a str, token: u64, hold: Duration) -> Reply<'a, bool> {
        let key = key.to_owned();
        self.answer(Call::Renew, move |store| store.renew(&key, token, hold))
    }

    fn release<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, ()> {
        let key = key.to_owned();
        self.answer(Call::Release, move |store| {
            store.release(&key, token);
        })
    }

    fn claim<'a>(
        &'a self,
        key: &'a str,
        token: u64,
        hold: Duration,
        author: Author,
    ) -> Reply<'a, Position> {
        let key = key.to_owned();
        if !self.slots {
            return self.answer(Call::Claim, move |store| {
                store.claim(&key, token, hold, author)
            });
        }
        let scope = Scope::Key(key.as_str().into());
        let seize = self.answer(Call::Claim, move |store| store.seize(&key, token, hold));
        self.then_append(seize, scope, author)
    }

    fn begin_write<'a>(&'a self, key: &'a str, token: u64, _: Duration) -> Reply<'a, bool> {
        let key = Arc::from(key);
        self.answer(Call::BeginWrite, move |store| {
            store.writes.begin(&key, token)
        })
    }

    fn end_write<'a>(&'a self, key: &'a str, token: u64) -> Reply<'a, bool> {
        let key = Arc::from(key);
        self.answer(Call::EndWrite, move |store| store.writes.end(&key, token))
    }

    fn invalidate<'a>(&'a self, scope: &'a Scope, author: Author) -> Reply<'a, Position> {
        let scope = scope.clone();
        if !self.slots || scope.key().is_none() {
            return self.answer(Call::Invalidate, move |store| {
                store.invalidate(&scope, author)
            });
        }
        let about = scope.clone();
        let change = self.answer(Call::Invalidate, move |store| store.change(&about));
        self.then_append(change, scope, author)
    }

    fn demand<'a>(&'a self, wanted: &'a Wanted, author: Author) -> Reply<'a, Option<Position>> {
        let wanted = wanted.clone();
        self.answer(Call::Demand, move |store| {
            let position = store.demand(&wanted, author);
            if let Some(key) = wanted.scope.key() {
                store.keep_demand(key, position.number, wanted.known, &wanted.here);
            }
            Some(position)
        })
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        self.answer(Call::Snapshot, Store::snapshot)
    }

    fn pulse(&self, number: u64) -> Reply<'_, Pulse> {
        if let Err(error) = self.log_is_up() {
            return Box::pin(async move { Err(error) });
        }
        self.answer(Call::Pulse, move |store| store.pulse(number))
    }

    fn scan<'a>(&'a self, after: &'a str) -> Reply<'a, Page> {
        let after = after.to_owned();
        self.answer(Call::Scan, move |store| store.scan(&after))
    }

    fn discard<'a>(&'a self, key: &'a str, head: Bytes) -> Reply<'a, bool> {
        let key = key.to_owned();
        self.answer(Call::Discard, move |store| store.discard(&key, &head))
    }

    fn tail(&self, position: u64, wait: Duration, most: u16) -> Reply<'_, Vec<Record>> {
        Box::pin(async move {
            let mut news = self.inner.news.subscribe();
            let deadline = tokio::time::Instant::now() + wait;
            self.inner.traps.pass(Call::Tail, Moment::Before).await;
            self.inner.faults.delay(Call::Tail).await;
            self.inner.faults.arrives(Call::Tail)?;
            loop {
                self.log_is_up()?;
                let next = self.store().tail(position, most);
                let records = self.as_they_come(next, most);
                if !records.is_empty() || tokio::time::Instant::now() >= deadline {
                    self.inner.traps.pass(Call::Tail, Moment::After).await;
                    self.log_is_up()?;
                    return Ok(records);
                }
                // A cut is noticed soon even when nothing is written.
                let soon = deadline.min(tokio::time::Instant::now() + Duration::from_millis(20));
                let _ = tokio::time::timeout_at(soon, news.changed()).await;
            }
        })
    }
}
