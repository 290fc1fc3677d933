//! One server of the cluster: its pool, its health, and what runs on it right now.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::Notify;
use tracing::Instrument;

use crate::Error;
use crate::attempt::Attempt;
use crate::balance::Load;
use crate::call::Call;
use crate::driver::{Backend, Sample};
use crate::fault::{Fault, Trouble};
use crate::flight::{Flight, Flights};
use crate::freshness::Want;
use crate::health::Health;
use crate::identity::Identity;
use crate::lag::{Hysteresis, Lag};
use crate::latency::Latency;
use crate::metrics::{NodeMetrics, Reason};
use crate::past::{Past, Question};
use crate::route::View;
use crate::running::Running;
use crate::seen::Seen;
use crate::sluggish::Sluggish;
use crate::status::Rotation;
use crate::traits::Traits;

/// A server and everything known about it.
pub(crate) struct Node {
    pub(crate) id: Arc<str>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) health: Health,
    pub(crate) metrics: NodeMetrics,
    /// Notified when the node should be looked at now.
    pub(crate) suspicion: Arc<Notify>,
    /// Notified when the node's state changed.
    pub(crate) changed: Arc<Notify>,
    /// Its pool was closed for good.
    closed: AtomicBool,
    traits: Traits,
    latency: Latency,
    pub(crate) sluggish: Sluggish,
    flights: Flights,
    /// How many calls the node answered; tells a node that is slow for a probe from one that is silent.
    answers: AtomicU64,
    seen: Mutex<Option<Seen>>,
    /// As the node last told it; kept while nobody reaches it.
    identity: Mutex<Identity>,
    /// Held while somebody asks for its position.
    pub(crate) asking: Arc<tokio::sync::Mutex<()>>,
    /// One asks for the start of its server. Not the turn above: whoever has that one waits for a connection of the pool, and who waits here
    /// may hold the last one.
    pub(crate) asking_start: tokio::sync::Mutex<Option<Question>>,
    lagging: Hysteresis,
    pub(crate) past: Past,
    /// A pooler that mixes statements was told of.
    mixes: AtomicBool,
}

impl Node {
    pub(crate) fn new(
        id: Arc<str>,
        backend: Arc<dyn Backend>,
        metrics: NodeMetrics,
        suspicion: Arc<Notify>,
        changed: Arc<Notify>,
        traits: Traits,
    ) -> Self {
        Self {
            changed,
            closed: AtomicBool::new(false),
            latency: Latency::new(Instant::now()),
            sluggish: Sluggish::new(Instant::now()),
            traits,
            id,
            backend,
            health: Health::new(),
            flights: Flights::new(metrics.in_flight()),
            metrics,
            suspicion,
            answers: AtomicU64::new(0),
            seen: Mutex::new(None),
            identity: Mutex::default(),
            asking: Arc::default(),
            asking_start: tokio::sync::Mutex::default(),
            lagging: Hysteresis::default(),
            past: Past::default(),
            mixes: AtomicBool::new(false),
        }
    }

    /// `stale` lets a replica pass that lags more than the cluster allows; `timed` looks at the latency too.
    pub(crate) fn view(&self, want: &Want<'_>, primary: &Self, stale: bool, timed: bool) -> View {
        let in_time = stale || !self.lagging.is_lagging();
        let fit = match self.health.rotation() {
            Rotation::Auto => in_time && self.health.is_up(),
            Rotation::In => true,
            Rotation::Out => false,
        };
        View {
            eligible: fit && self.is_of(want.group) && (want.is_any() || self.meets(want, primary)),
            free: self.backend.load().is_free(),
            near: self.traits.near,
            slow: false,
            load: Load {
                in_flight: self.in_flight(),
                weight: self.traits.weight,
                latency_us: if timed { self.latency_us() } else { 0 },
            },
        }
    }

    pub(crate) fn is_of(&self, group: Option<&str>) -> bool {
        self.traits.group.as_deref() == group
    }

    pub(crate) fn traits(&self) -> &Traits {
        &self.traits
    }

    /// What an answer takes by the last ones, in microseconds.
    pub(crate) fn latency_us(&self) -> u32 {
        self.latency.estimate_us(Instant::now())
    }

    /// By proof: what is not known does not count.
    pub(crate) fn meets(&self, want: &Want<'_>, primary: &Self) -> bool {
        if self.traits.same_file {
            return true;
        }
        // Of a start that is over nothing is proven.
        let Some(seen) = self
            .seen()
            .filter(|seen| self.past.is_of_now(seen.sample.started))
        else {
            return false;
        };
        let in_time = want.max_lag.is_none_or(|limit| {
            // Whatever was committed since may be missing, also where the last probes show no lag.
            let proves = |lag: &Lag| lag.is_proven && lag.as_of.elapsed() <= limit;
            seen.lag.as_ref().is_some_and(proves)
        });
        let reached = want.at_least.is_none_or(|token| {
            let primary = primary.seen();
            primary.is_some_and(|primary| token.is_reached(&seen.sample, &primary.sample))
        });
        in_time && reached
    }

    /// What the last probe saw, as long as it proves something.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.seen_slot().as_ref().filter(|seen| seen.holds).cloned()
    }

    /// What the last probe saw, also where a connection broke since.
    pub(crate) fn last_seen(&self) -> Option<Seen> {
        self.seen_slot().clone()
    }

    /// The server may have been started again: what it had replayed before proves nothing now.
    pub(crate) fn doubt(&self) {
        self.past.doubt();
        self.outdate();
    }

    /// It was started again.
    pub(crate) fn outdate(&self) {
        self.metrics.lag(None);
        if let Some(seen) = self.seen_slot().as_mut() {
            seen.holds = false;
        }
    }

    /// A probe had no good answer, so what the last one saw may be over.
    pub(crate) fn missed_a_probe(&self) {
        if let Some(seen) = self.seen_slot().as_mut() {
            seen.missed = true;
        }
    }

    pub(crate) fn set_seen(&self, seen: Option<Seen>) {
        if let Some(seen) = &seen {
            *self.identity_slot() = Identity::of(&seen.sample);
        }
        self.metrics.lag(seen.as_ref().and_then(|seen| seen.lag));
        *self.seen_slot() = seen;
    }

    /// The position of a node that was seen before, asked for between two probes.
    pub(crate) fn saw(&self, asked: Instant, sample: Sample) {
        if let Some(seen) = self.seen_slot().as_mut().filter(|seen| seen.holds) {
            seen.moved(asked, sample);
        }
    }

    /// Which data the node has, as it last told; of nothing when it never did.
    pub(crate) fn identity(&self) -> Identity {
        self.identity_slot().clone()
    }

    fn identity_slot(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn judge_lag(&self, lag: Option<Lag>, limit: Duration) {
        let Some(lags) = self.lagging.judge(lag, limit) else {
            return;
        };
        self.changed.notify_one();
        if lags {
            tracing::warn!(node = %self.id, ?lag, ?limit, "replica lags");
        }
    }

    /// The next measurement decides by itself.
    pub(crate) fn forget_lagging(&self) {
        self.lagging.forget();
    }

    pub(crate) fn is_lagging(&self) -> bool {
        self.lagging.is_lagging()
    }

    /// Everything that was committed before this it has, as far as that is known.
    pub(crate) fn lag_as_of(&self) -> Option<Instant> {
        self.seen().and_then(|seen| seen.lag).map(|lag| lag.as_of)
    }

    /// Why a read goes there: one that lags too much serves for lack of a better one, or by order.
    pub(crate) fn reason_or_stale(&self, reason: Reason) -> Reason {
        match self.is_lagging() {
            true => Reason::Stale,
            false => reason,
        }
    }

    fn seen_slot(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.flights.count()
    }

    /// How many transactions and streams are open.
    pub(crate) fn held(&self) -> u32 {
        self.flights.held()
    }

    /// Runs the call and takes note of how it went.
    ///
    /// # Cancellation
    ///
    /// Dropped before the end, the call is counted as cancelled, and its connection is thrown away.
    pub(crate) async fn run<C: Call>(
        &self,
        call: &C,
        attempt: impl Into<Attempt>,
    ) -> Result<C::Output, Fault> {
        let attempt: Attempt = attempt.into();
        let counted = (&self.flights, &self.metrics, &self.latency);
        let running = Running::new(counted, attempt.reason);
        let span = tracing::debug_span!(
            "bilten_db.statement",
            node = %self.id,
            reason = attempt.reason.name(),
            attempt = attempt.number,
            lag_us = tracing::field::Empty,
            waited_us = tracing::field::Empty,
            took_us = tracing::field::Empty,
            ok = tracing::field::Empty,
        );
        if !span.is_disabled()
            && let Some(lag) = self.seen().and_then(|seen| seen.lag)
        {
            span.record("lag_us", micros(lag.time));
        }
        let outcome = call
            .on(&*self.backend, attempt.another)
            .instrument(span.clone())
            .await;
        let took = running.end();
        let ok = outcome.is_ok();
        span.record("took_us", micros(took)).record("ok", ok);
        if outcome.as_ref().map_or_else(Fault::says_speed, |_| true) {
            self.latency.record(Instant::now(), took);
        }
        self.metrics.finished(attempt.reason, ok, took);
        match &outcome {
            Ok(_) => {
                self.answered();
                // A primary is asked although it is out, for want of another: what it answers is worth a look.
                if !self.health.is_up() && self.health.answered(Instant::now() - took) {
                    self.suspicion.notify_one();
                }
            }
            Err(fault) => self.note(fault),
        }
        match C::GOES_ON {
            true => outcome.map(|output| C::in_flight(output, Flight::on(&self.flights))),
            false => outcome,
        }
    }

    /// A fault asks for a look at the node. A connection that cannot be opened is proof by itself only where there is none
    /// that works: a name that does not resolve now ends nothing that is open.
    fn note(&self, fault: &Fault) {
        match fault.trouble() {
            Trouble::Unreachable if self.has_nothing_to_lose() => self.eject_for(fault),
            Trouble::Lost => self.doubt(),
            // It says nothing about the server.
            Trouble::Idled => return,
            Trouble::Unreachable | Trouble::Slow | Trouble::Unanswered => {}
            Trouble::Answer | Trouble::NotHere => {
                self.look_for_pooler(fault);
                return self.answered();
            }
            // What found the silence has seen to it.
            Trouble::Silent | Trouble::Busy | Trouble::Conflict | Trouble::ReadOnly => return,
        }
        self.suspicion.notify_one();
    }

    fn has_nothing_to_lose(&self) -> bool {
        self.backend.is_watched() && self.backend.load().size == 0
    }

    /// Tells once of a pooler on the way that mixes the prepared statements of its clients.
    fn look_for_pooler(&self, fault: &Fault) {
        if fault.tells_of_a_pooler() && !self.mixes.swap(true, Ordering::Relaxed) {
            tracing::warn!(node = %self.id, address = self.backend.address(), cause = fault.cause(),
                "a pooler gives statements to sessions that did not prepare them, so an answer may be that of another statement: let it pool sessions, or know prepared statements (PgBouncer 1.21, max_prepared_statements)");
        }
    }

    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// How much it answered so far.
    pub(crate) fn answers_so_far(&self) -> u64 {
        self.answers.load(Ordering::Relaxed) + self.backend.answers()
    }

    /// Takes the node out of rotation and fails those who wait for a connection to it.
    pub(crate) fn eject(&self, reason: &str) {
        self.take_out(reason, false);
        self.backend.discard();
    }

    /// As [`eject`](Self::eject), for what the node answered, or did not.
    pub(crate) fn eject_for(&self, fault: &Fault) {
        self.set_aside(fault);
        self.backend.discard();
    }

    /// Takes the node out of rotation; connections that work stay.
    pub(crate) fn set_aside(&self, fault: &Fault) {
        self.take_out(&fault.cause(), fault.lasts());
    }

    /// Leaves the node in rotation although its probe failed.
    pub(crate) fn keep(&self, why: &str, fault: &Fault) {
        let reason = format!("kept in rotation, {why}: {}", fault.cause());
        if self.health.keep(&reason) {
            self.changed.notify_one();
            tracing::warn!(node = %self.id, address = self.backend.address(), reason, "a probe failed");
        }
    }

    fn take_out(&self, reason: &str, lasts: bool) {
        let before = self.health.reason();
        if self.health.eject(Instant::now(), reason.to_owned(), lasts) {
            self.metrics.ejected();
            self.changed.notify_one();
            tracing::warn!(node = %self.id, address = self.backend.address(), reason, "node ejected");
        } else if before.as_deref() != Some(reason) {
            // Out all the same, but whoever watches would go on with the old cause.
            self.changed.notify_one();
        }
    }

    /// After a good probe: back into rotation, unless its pause is not over.
    pub(crate) fn admit(&self) {
        self.health.well();
        if self.pause_left().is_zero() && self.health.readmit(Instant::now()) {
            self.metrics.readmitted();
            self.changed.notify_one();
            tracing::info!(node = %self.id, address = self.backend.address(), "node back in rotation");
        }
    }

    pub(crate) fn pause_left(&self) -> Duration {
        self.health.pause_left(Instant::now())
    }

    /// Tells the metrics of the connections of its pool.
    pub(crate) fn note_pool(&self) {
        let load = self.backend.load();
        self.metrics.pool(load.size, load.at_hand());
    }

    /// From now on waiters are told that the pool was closed on purpose.
    pub(crate) fn closing(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether nothing runs, and every connection of the pool is idle.
    pub(crate) fn is_idle(&self) -> bool {
        let load = self.backend.load();
        self.in_flight() == 0 && load.size <= load.at_hand()
    }

    /// The error of a write that had no answer.
    pub(crate) fn in_doubt(&self, source: DbErr) -> DbErr {
        Error::OutcomeUnknown {
            node: self.id.to_string(),
            address: self.backend.address().to_owned(),
            source,
        }
        .into()
    }

    /// The caller's error; a node known to be down says why.
    pub(crate) fn db_err(&self, fault: Fault) -> DbErr {
        if matches!(fault, Fault::Discarded) && self.closed.load(Ordering::Relaxed) {
            return Error::Closed.into();
        }
        match (&fault, self.health.reason()) {
            (Fault::Discarded | Fault::ConnectTimeout(_), Some(reason)) => {
                crate::error::internal(format!(
                    "{} at {} is down: {reason}",
                    self.id,
                    self.backend.address()
                ))
            }
            _ => fault.into_db_err(&self.id, self.backend.address()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id)
            .field("up", &self.health.is_up())
            .finish_non_exhaustive()
    }
}

/// For a span's field.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cluster;

    #[tokio::test]
    async fn a_lag_that_swings_around_the_limit_moves_the_node_once() {
        let db = Cluster::builder().primary("sqlite::memory:").connect();
        let db = db.await.unwrap();
        let node = Arc::clone(&db.router().topology().primary);
        let limit = Duration::from_secs(1);
        let lag = |millis| {
            let time = Duration::from_millis(millis);
            let as_of = Instant::now();
            Some(Lag {
                bytes: 1,
                time,
                as_of,
                is_proven: true,
            })
        };
        let mut moves = 0;
        let mut judge = |lag| {
            let before = node.is_lagging();
            node.judge_lag(lag, limit);
            moves += u32::from(before != node.is_lagging());
        };
        // Two good looks never follow each other often enough to come back.
        for _ in 0..20 {
            [lag(1100), lag(900), lag(900)]
                .into_iter()
                .for_each(&mut judge);
        }
        judge(None);
        [lag(0); 4].into_iter().for_each(&mut judge);
        assert_eq!(moves, 2, "out at the first, in at the end");
        assert!(!node.is_lagging());
    }
}
