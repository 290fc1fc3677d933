use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, join_all};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tracing::Instrument;

use super::breaker::{Breaker, BreakerState, OnBreaker};
use super::outage::{Noticed, Outage};
use super::together::Together;
use super::{Each, Parcel, Remote, RemoteError, Reply};
use crate::clock::{Clock, Nanos, nanos};
use crate::error::panic_message;
use crate::spans::{self, Ask};
use crate::stats::CacheMeters;

/// A place among the calls, for one of them after the other. Between two of a write nobody else has to come to their turn. Or several places,
/// for as many calls at once.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    _places: SemaphorePermit<'a>,
    _aside: Option<SemaphorePermit<'a>>,
}

/// What every call to the second level is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) budget: Duration,
    pub(crate) concurrent: usize,
    /// So many more count as under way than there are.
    pub(crate) crowd: usize,
}

/// The only way to the second level: no call takes longer than its budget, there are never
/// more than so many at once, and a store that keeps failing is left alone for a while.
#[derive(Debug)]
pub(crate) struct Gate {
    cache: Arc<str>,
    remote: Arc<dyn Remote>,
    limits: Limits,
    permits: Semaphore,
    /// For what loads leave behind.
    aside: Semaphore,
    breaker: Mutex<Breaker>,
    clock: Clock,
    meters: Arc<CacheMeters>,
    on_breaker: OnBreaker,
    outage: Outage,
    suspected: AtomicBool,
    together: Arc<Together>,
}

impl Gate {
    pub(crate) fn new(
        cache: &Arc<str>,
        remote: Arc<dyn Remote>,
        limits: Limits,
        clock: Clock,
        meters: Arc<CacheMeters>,
        on_breaker: OnBreaker,
    ) -> Self {
        let address = remote.address().to_owned();
        Self {
            cache: Arc::clone(cache),
            together: Together::new(Arc::clone(&remote), limits.budget, limits.crowd > 0),
            remote,
            limits,
            permits: Semaphore::new(limits.concurrent),
            aside: Semaphore::new(limits.concurrent.div_ceil(2)),
            breaker: Mutex::default(),
            outage: Outage::new(Arc::clone(cache), address, clock.clone()),
            clock,
            meters,
            on_breaker,
            suspected: AtomicBool::new(false),
        }
    }

    /// Makes one call under all limits, in a span of its own.
    pub(crate) async fn call<'a, T: 'a>(
        &'a self,
        what: Ask,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Result<T, RemoteError> {
        let Ok(_place) = self.permits.try_acquire() else {
            self.meters.remote_failures.add(1);
            return Err(RemoteError::Overloaded);
        };
        self.ask(what, ask).await
    }

    /// Reads one key under all limits: by itself, or with others in one call while many are under way.
    pub(crate) async fn read(&self, key: &Arc<str>) -> Result<Option<Bytes>, RemoteError> {
        let Ok(_place) = self.permits.try_acquire() else {
            self.meters.remote_failures.add(1);
            return Err(RemoteError::Overloaded);
        };
        let under_way = self.limits.concurrent - self.permits.available_permits();
        let under_way = under_way + self.limits.crowd;
        let answer = match self.together.is_better(under_way) {
            true => self.watched(pin!(self.read_together(key))).await,
            false => self.ask(Ask::Read, |remote| remote.read(key)).await,
        };
        if let Ok(found) = &answer {
            self.together.saw(found.as_ref().map(Bytes::len));
        }
        answer
    }

    fn read_together(
        &self,
        key: &Arc<str>,
    ) -> impl Future<Output = Result<Option<Bytes>, RemoteError>> {
        let read = self.together.read(key);
        let span = spans::call(&self.cache, Ask::Read);
        match span.is_disabled() {
            true => Either::Left(read),
            false => Either::Right(Box::pin(read.instrument(span))),
        }
    }

    /// The same for a change, and for what others wait for. What cannot be made now has to be made later, so it waits for its
    /// [`turn`](Self::turn).
    pub(crate) async fn change<'a, T: 'a>(
        &'a self,
        what: Ask,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Result<T, RemoteError> {
        let turn = self.turn().await?;
        self.call_in(&turn, what, ask).await
    }

    /// Waits for a place among the calls, as long as one may take, before all reads that come meanwhile.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, RemoteError> {
        self.turn_of(1).await
    }

    /// The same for a change of so many keys, at most [`share`](Self::share), with [`each`](Self::each).
    pub(crate) async fn turn_for(&self, keys: usize) -> Result<Turn<'_>, RemoteError> {
        self.turn_of(self.calls_for(keys)).await
    }

    /// The same for what a load leaves behind. However many loads end at once, that has half of the places at most: where it stood before
    /// all reads, they would be misses until the last of it was done. It waits for that as long as one call may take, and is given up then:
    /// what comes faster than it goes would become more and more.
    pub(crate) async fn aside(&self) -> Result<Turn<'_>, RemoteError> {
        let mut until = None;
        let aside = self.place_in(&self.aside, 1, &mut until).await?;
        Ok(Turn {
            _places: self.place_in(&self.permits, 1, &mut until).await?,
            _aside: Some(aside),
        })
    }

    async fn turn_of(&self, calls: usize) -> Result<Turn<'_>, RemoteError> {
        let calls = u32::try_from(calls.clamp(1, self.share())).unwrap_or(u32::MAX);
        Ok(Turn {
            _places: self.place_in(&self.permits, calls, &mut None).await?,
            _aside: None,
        })
    }

    /// What has waited for one place already has no new time for the next: that is over `until` then.
    async fn place_in<'a>(
        &self,
        places: &'a Semaphore,
        calls: u32,
        until: &mut Option<Instant>,
    ) -> Result<SemaphorePermit<'a>, RemoteError> {
        if let Ok(permit) = places.try_acquire_many(calls) {
            return Ok(permit);
        }
        if self.breaker_state() != BreakerState::Closed {
            return Err(RemoteError::BreakerOpen);
        }
        let until = *until.get_or_insert_with(|| Instant::now() + self.limits.budget);
        let permit = tokio::time::timeout_at(until, places.acquire_many(calls));
        let Ok(Ok(permit)) = permit.await else {
            self.meters.remote_failures.add(1);
            return Err(RemoteError::Overloaded);
        };
        Ok(permit)
    }

    /// Makes one call in a turn that the caller has, under all other limits.
    pub(crate) async fn call_in<'a, T: 'a>(
        &'a self,
        _: &Turn<'_>,
        what: Ask,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Result<T, RemoteError> {
        self.ask(what, ask).await
    }

    async fn ask<'a, T: 'a>(
        &'a self,
        what: Ask,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Result<T, RemoteError> {
        // Pinned where they are, here and below: what is handed on by value has its room twice.
        let asked = pin!(whole(async { self.spanned(what, ask).await }));
        let mut asked = pin!(tokio::time::timeout(self.limits.budget, asked));
        let bounded = async {
            let answer = asked.as_mut().await;
            answer.unwrap_or(Err(RemoteError::Timeout))
        };
        self.watched(pin!(bounded)).await
    }

    /// Where nobody looks at the span, there is none: it would be in each future that asks.
    fn spanned<'a, T: 'a>(
        &'a self,
        what: Ask,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Reply<'a, T> {
        let span = spans::call(&self.cache, what);
        if span.is_disabled() {
            return ask(&*self.remote);
        }
        let reply = span.in_scope(|| ask(&*self.remote));
        Box::pin(reply.instrument(span))
    }

    /// Makes a call that keeps to the budget by itself, unless the breaker is open.
    async fn watched<T>(
        &self,
        call: impl Future<Output = Result<T, RemoteError>>,
    ) -> Result<T, RemoteError> {
        let began = self.clock.now();
        if !self.breaker().admits(began) {
            return Err(RemoteError::BreakerOpen);
        }
        let mut unanswered = Unanswered {
            gate: self,
            began: Some(began),
        };
        let answer = call.await;
        unanswered.began = None;
        self.note(answer.as_ref().err());
        answer
    }

    /// A caller had less patience than a call may take. When all of them have, and the store answers none, the log's task finds out what is
    /// the matter: see [`is_suspected`](Self::is_suspected).
    fn given_up(&self, began: Nanos) {
        let budget = nanos(self.limits.budget);
        let now = self.clock.now();
        if self.breaker().given_up(began, now, budget) {
            self.suspected.store(true, Ordering::Relaxed);
        }
    }

    /// Whether callers gave up one call after the other, for as long as one may take, and none was answered: somebody with patience has to
    /// [`probe`](Self::probe). Once told, it has to happen anew.
    pub(crate) fn is_suspected(&self) -> bool {
        self.suspected.load(Ordering::Relaxed) && self.suspected.swap(false, Ordering::Relaxed)
    }

    /// Stores a loaded or written value under a lease, as [`Remote::store`] does. That it could be stored tells that the store is
    /// not full any more.
    pub(crate) async fn store_in(
        &self,
        turn: &Turn<'_>,
        key: &str,
        token: u64,
        envelope: Bytes,
        keep: Duration,
    ) -> Result<bool, RemoteError> {
        let stored = self
            .call_in(turn, Ask::Store, |remote| {
                remote.store(key, token, envelope, keep)
            })
            .await;
        if matches!(stored, Ok(true)) {
            self.outage.works(Noticed::Refusal);
        }
        stored
    }

    /// A change of many keys, in a turn for so many. Each of them counts as a call of its own that failed or did not; where they are
    /// calls of their own, each has the time of one, and a slow one takes no other with it.
    pub(crate) async fn each<'a, K, T: 'a>(
        &'a self,
        turn: &Turn<'_>,
        what: Ask,
        keys: &'a [K],
        many: impl FnOnce(&'a dyn Remote) -> Reply<'a, Each<T>>,
        one: impl Fn(&'a dyn Remote, &'a K) -> Reply<'a, T>,
    ) -> Result<Each<T>, RemoteError> {
        if !self.remote.takes_many() {
            let one = &one;
            let calls = keys
                .iter()
                .map(|key| self.ask(what, move |remote| one(remote, key)));
            return Ok(join_all(calls).await);
        }
        let answers = self.call_in(turn, what, many).await?;
        for answer in &answers {
            self.note(answer.as_ref().err());
        }
        Ok(answers)
    }

    /// The same as [`store_in`](Self::store_in) for many values.
    pub(crate) async fn store_many<'a>(
        &'a self,
        turn: &Turn<'_>,
        values: &'a [Parcel],
    ) -> Result<Each<bool>, RemoteError> {
        let one = |remote: &'a dyn Remote, value: &'a Parcel| {
            remote.store(&value.key, value.token, value.envelope.clone(), value.keep)
        };
        let many = |remote: &'a dyn Remote| remote.store_many(values);
        let stored = self.each(turn, Ask::Store, values, many, one).await;
        if stored.iter().flatten().any(|one| matches!(one, Ok(true))) {
            self.outage.works(Noticed::Refusal);
        }
        stored
    }

    /// The store without breaker and budget, for the log's own task, which keeps its own time.
    pub(crate) fn remote(&self) -> &dyn Remote {
        &*self.remote
    }

    /// What is wrong with the store, and was said about it.
    pub(crate) fn outage(&self) -> &Outage {
        &self.outage
    }

    /// Tells the breaker that the store is there again.
    pub(crate) fn answered(&self) {
        let mut breaker = self.breaker();
        let before = breaker.state();
        breaker.succeeded();
        drop(breaker);
        if before != BreakerState::Closed {
            self.on_breaker.tell(false);
            self.outage.works(Noticed::Calling);
        }
    }

    /// Finds out for all calls whether the store is there, by giving back a lease that nobody has. If not, they are turned away at
    /// once until [`answered`](Self::answered): no caller has to wait to find out too.
    pub(crate) async fn probe(&self) -> bool {
        let asked = whole(async { self.remote.release("", 0).await });
        let asked = tokio::time::timeout(self.limits.budget, asked).await;
        match asked.unwrap_or(Err(RemoteError::Timeout)) {
            Ok(()) | Err(RemoteError::Refused(_)) => {
                self.answered();
                true
            }
            Err(error) => {
                self.is_away(&error);
                false
            }
        }
    }

    fn is_away(&self, error: &RemoteError) {
        let mut breaker = self.breaker();
        let was_closed = breaker.state() == BreakerState::Closed;
        breaker.hold(self.clock.now());
        if was_closed {
            // Still under the lock: that it works must not be told before this.
            self.outage.failed(Noticed::Calling, error);
        }
        drop(breaker);
        if was_closed {
            self.meters.breaker_opened.add(1);
            self.on_breaker.tell(true);
        }
    }

    /// How long one call may take.
    pub(crate) fn budget(&self) -> Duration {
        self.limits.budget
    }

    /// How many calls of one caller leave others room enough.
    pub(crate) fn share(&self) -> usize {
        self.limits.concurrent.div_ceil(2)
    }

    /// How many calls a change of so many keys is.
    pub(crate) fn calls_for(&self, keys: usize) -> usize {
        if self.remote.takes_many() { 1 } else { keys }
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker().state()
    }

    /// The store is there, and something in it is not as it should be.
    pub(crate) fn refused(&self, error: &RemoteError) {
        self.meters.remote_failures.add(1);
        self.outage.failed(Noticed::Refusal, error);
    }

    fn note(&self, error: Option<&RemoteError>) {
        let mut breaker = self.breaker();
        let before = breaker.state();
        match error {
            // The store answered: it is there, whatever it thinks of the command.
            None | Some(RemoteError::Refused(_) | RemoteError::TooLarge { .. }) => {
                breaker.succeeded();
            }
            Some(_) => breaker.failed(self.clock.now()),
        }
        let after = breaker.state();
        drop(breaker);
        if before != BreakerState::Closed && after == BreakerState::Closed {
            self.on_breaker.tell(false);
            self.outage.works(Noticed::Calling);
        }
        // That one value is too large is nothing wrong with the store.
        let error = error.filter(|error| !matches!(error, RemoteError::TooLarge { .. }));
        let Some(error) = error else { return };
        if matches!(error, RemoteError::Refused(_)) {
            self.refused(error);
            return;
        }
        self.meters.remote_failures.add(1);
        if before == BreakerState::Closed && after == BreakerState::Open {
            self.meters.breaker_opened.add(1);
            self.on_breaker.tell(true);
            self.outage.failed(Noticed::Calling, error);
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits for its answer.
struct Unanswered<'a> {
    gate: &'a Gate,
    began: Option<Nanos>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.gate.given_up(began);
        }
    }
}

/// A store of somebody's own may panic. That is one more way in which it can fail.
pub(crate) async fn whole<T>(
    work: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

pub(crate) fn panicked(panic: &(dyn Any + Send)) -> RemoteError {
    RemoteError::Unavailable(format!("the store panicked: {}", panic_message(panic)))
}

#[cfg(all(test, feature = "test-util"))]
mod tests;
