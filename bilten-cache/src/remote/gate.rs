use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::breaker::{Breaker, BreakerState};
use super::{Remote, RemoteError, Reply};
use crate::clock::{Clock, Nanos};
use crate::stats::CacheMeters;

/// The pause between two lines about refusals.
const REFUSAL_PAUSE: Nanos = 60_000_000_000;

/// What every call to the second level is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) budget: Duration,
    pub(crate) concurrent: usize,
}

/// The only way to the second level: no call takes longer than its budget, there are never
/// more than so many at once, and a store that keeps failing is left alone for a while.
#[derive(Debug)]
pub(crate) struct Gate {
    remote: Arc<dyn Remote>,
    limits: Limits,
    permits: Semaphore,
    breaker: Mutex<Breaker>,
    clock: Clock,
    meters: Arc<CacheMeters>,
    /// When a refusal may be logged again.
    log_refusals_from: AtomicU64,
}

impl Gate {
    pub(crate) fn new(
        remote: Arc<dyn Remote>,
        limits: Limits,
        clock: Clock,
        meters: Arc<CacheMeters>,
    ) -> Self {
        Self {
            remote,
            limits,
            permits: Semaphore::new(limits.concurrent),
            breaker: Mutex::default(),
            clock,
            meters,
            log_refusals_from: AtomicU64::new(0),
        }
    }

    /// Makes one call under all limits.
    pub(crate) async fn call<'a, T>(
        &'a self,
        ask: impl FnOnce(&'a dyn Remote) -> Reply<'a, T>,
    ) -> Result<T, RemoteError> {
        let Ok(_permit) = self.permits.try_acquire() else {
            self.meters.remote_failures.add(1);
            return Err(RemoteError::Overloaded);
        };
        if !self.breaker().admits(self.clock.now()) {
            return Err(RemoteError::BreakerOpen);
        }
        let answer = tokio::time::timeout(self.limits.budget, ask(&*self.remote)).await;
        let answer = answer.unwrap_or(Err(RemoteError::Timeout));
        self.note(answer.as_ref().err());
        answer
    }

    /// The store without breaker and budget, for the log's own task, which keeps its own time.
    pub(crate) fn remote(&self) -> &dyn Remote {
        &*self.remote
    }

    /// Tells the breaker that the store is there again.
    pub(crate) fn answered(&self) {
        self.breaker().succeeded();
    }

    /// How long one call may take.
    pub(crate) fn budget(&self) -> Duration {
        self.limits.budget
    }

    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker().state()
    }

    fn note(&self, error: Option<&RemoteError>) {
        let mut breaker = self.breaker();
        let before = breaker.state();
        match error {
            None => breaker.succeeded(),
            // The store answered: it is there, whatever it thinks of the command.
            Some(RemoteError::Refused(why)) => {
                breaker.succeeded();
                self.meters.remote_failures.add(1);
                self.log_refusal(why);
            }
            Some(_) => {
                breaker.failed(self.clock.now());
                self.meters.remote_failures.add(1);
            }
        }
        let after = breaker.state();
        drop(breaker);
        if before == BreakerState::Closed && after == BreakerState::Open {
            self.meters.breaker_opened.add(1);
            let error = error.map(ToString::to_string).unwrap_or_default();
            tracing::warn!(
                error,
                "second cache level keeps failing: serving from memory and loaders"
            );
        } else if before != BreakerState::Closed && after == BreakerState::Closed {
            tracing::info!("second cache level answers again");
        }
    }

    /// A server that is full, read-only or does not allow scripts refuses every call: say so once a minute.
    fn log_refusal(&self, why: &str) {
        let now = self.clock.now();
        let due = self.log_refusals_from.load(Ordering::Relaxed);
        let next = now.saturating_add(REFUSAL_PAUSE);
        let claim = || {
            self.log_refusals_from
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
        };
        if now >= due && claim().is_ok() {
            tracing::error!(
                why,
                "second cache level refuses commands: serving from memory and loaders"
            );
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
