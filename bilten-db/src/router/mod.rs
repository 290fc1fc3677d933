//! The way of a call through the cluster: the only file that knows the order of the steps.
//!
//! classify, look for a hint, pick a node, run, and after a fault perhaps once more on another replica and once on the
//! primary.

mod primary;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use sea_orm::{DbBackend, DbErr, Statement};

use crate::access::{Access, classify_denying, may_hide_a_write};
use crate::attempt::Attempt;
use crate::balance::Balance;
use crate::call::{Call, Wants};
use crate::deadline;
use crate::failover::{Step, step};
use crate::fallback::or_full;
use crate::fault::{Fault, Trouble};
use crate::freshness::{self, Want};
use crate::hedge::race;
use crate::learned::Learned;
use crate::metrics::Reason;
use crate::node::Node;
use crate::policy::{Hedge, Policy};
use crate::roster::{Roster, Topology};
use crate::route::{Views, pick, pick_stale};
use crate::routing::{Course, Mode, course};
use crate::scope::{self, Route};
use crate::tags;
use crate::{Error, Fallback};

/// Sends calls to nodes.
#[derive(Debug)]
pub(crate) struct Router {
    roster: Roster,
    backend: DbBackend,
    policy: Policy,
    learned: Arc<Learned>,
    standing_in: Arc<AtomicU32>,
    turn: AtomicU64,
    closed: AtomicBool,
}

impl Router {
    pub(crate) fn new(roster: Roster, policy: Policy) -> Self {
        let backend = roster.topology().primary.backend.kind();
        Self {
            backend,
            roster,
            policy,
            learned: Arc::new(Learned::new(backend)),
            standing_in: Arc::default(),
            // Processes that start together would otherwise all begin with the first replica.
            turn: AtomicU64::new(fastrand::u64(..)),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn backend(&self) -> DbBackend {
        self.backend
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) fn topology(&self) -> Arc<Topology> {
        self.roster.topology()
    }

    pub(crate) fn learned(&self) -> usize {
        self.learned.len()
    }

    /// For what finds out later that a statement writes.
    pub(crate) fn lessons(&self) -> Arc<Learned> {
        Arc::clone(&self.learned)
    }

    pub(crate) fn mode(&self) -> &Mode {
        &self.policy.mode
    }

    /// The statement with its tags.
    pub(crate) fn tagged(&self, statement: Statement) -> Statement {
        tags::tag(statement, &self.policy.tags)
    }

    /// As [`tagged`](Self::tagged), for SQL without values.
    pub(crate) fn commented<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        let mut tagged = Cow::Borrowed(sql);
        tags::comment(&mut tagged, &self.policy.tags);
        tagged
    }

    /// From now on calls fail.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Where a read of this task begins.
    pub(crate) fn course(&self, in_session: bool) -> Course {
        let mode = self.policy.mode.load();
        course(mode, scope::route(), freshness::wanted(), in_session)
    }

    /// Runs a call where it belongs.
    ///
    /// # Cancellation
    ///
    /// Safe for the cluster at every point; a write that was sent may or may not have happened.
    pub(crate) async fn run<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        let access = self.access(call.wants());
        let write = call.wants().may_change(access);
        let hides = || self.may_write(call.wants());
        // Pinned here: moved on, it would be copied.
        let call = pin!(async {
            match access {
                Access::Write => self.write(call).await,
                Access::Read => match self.course(false) {
                    Course::Primary => self.read_on_primary(call, Reason::Pinned.into()).await,
                    Course::Replicas => self.read(call).await,
                },
            }
        });
        self.in_time(write, hides, call).await
    }

    /// Bounds a whole call by the deadlines of the cluster and of the task.
    ///
    /// `write` tells whether something may have changed when the limit has passed, `hides` whether it may if it seems to
    /// read and ran on the primary.
    pub(crate) async fn in_time<T>(
        &self,
        write: bool,
        hides: impl FnOnce() -> bool,
        call: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        if self.is_closed() {
            return Err(Error::Closed.into());
        }
        deadline::within(self.policy.deadline, write, hides, call).await
    }

    pub(crate) fn access(&self, wants: Wants<'_>) -> Access {
        match wants {
            Wants::Transaction { read_only: true } => Access::Read,
            Wants::Transaction { read_only: false } => Access::Write,
            Wants::Statement(sql) => {
                let read = || classify_denying(self.backend, sql, &self.policy.denied);
                self.learned.access(sql, read)
            }
        }
    }

    /// Whether a read may turn out to be a write where writes are taken.
    pub(crate) fn may_write(&self, wants: Wants<'_>) -> bool {
        match wants {
            Wants::Statement(sql) => may_hide_a_write(self.backend, sql),
            Wants::Transaction { .. } => false,
        }
    }

    pub(crate) async fn write<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        let reason = match call.wants() {
            Wants::Statement(_) => Reason::Write,
            Wants::Transaction { .. } => Reason::Transaction,
        };
        self.on_primary(call, reason.into(), true).await
    }

    async fn read<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        let topology = self.topology();
        let mut tried = None;
        let mut full = None;
        let mut attempt = Attempt::from(Reason::Read);
        while let Some((node, reason)) = self.next_replica(&topology, tried.as_ref()) {
            attempt.reason = reason;
            // What belongs together stays together, however slowly the node lets it in.
            attempt.another = !scope::pins() && self.is_another(&topology, &node, tried.as_ref());
            let fault = match self.read_on(&topology, &node, call, attempt).await {
                Ok(output) => {
                    return Ok(output);
                }
                Err(fault) => fault,
            };
            match step(Access::Read, true, fault.trouble()) {
                Step::Return => return Err(node.db_err(fault)),
                Step::Learn => return self.learn(call, attempt).await,
                Step::Ask if node.answers().await => return Err(node.db_err(fault)),
                Step::Ask | Step::Elsewhere if !self.may_try_again(&node, &fault) => {
                    return Err(node.db_err(fault));
                }
                Step::Ask | Step::Elsewhere => {}
            }
            if fault.trouble() == Trouble::Busy {
                full = Some(node.db_err(fault));
            }
            attempt = attempt.again(Reason::Retry);
            if tried.replace(node).is_some() {
                break;
            }
        }
        if tried.is_none() {
            attempt.reason = Reason::Fallback;
        }
        let replicas_only = scope::route().is_some_and(Route::is_replicas_only);
        // A scope that went to the primary once stays there.
        let on_primary = || scope::pinned(self.id()).is_some_and(|node| topology.is_primary(&node));
        let outcome = if replicas_only || (scope::hinted().is_any() && !on_primary()) {
            self.stand_in(call, attempt, None).await
        } else {
            self.keep_promise(call, attempt).await
        };
        outcome.map_err(|error| or_full(error, full))
    }

    /// Runs a read on a node that keeps what it demands. One that was started meanwhile may be behind again: what it had
    /// replayed before was no proof.
    async fn run_kept<C: Call>(
        &self,
        topology: &Topology,
        node: &Arc<Node>,
        call: &C,
        attempt: impl Into<Attempt>,
    ) -> Result<C::Output, Fault> {
        let want = scope::hinted();
        let started = node.past.started();
        // Once more: since it was chosen another start may have been told, of which nothing is proven.
        if !want.is_any() && !node.meets(&want, &topology.primary) {
            return Err(Fault::Discarded);
        }
        let outcome = node.run(call, attempt).await;
        let is_same = async || node.is_sure_of_start().await && node.past.started() == started;
        // An error may tell of an earlier state too, as that of a table that is not there yet.
        let tells = outcome.as_ref().map_or_else(Fault::is_answer, |_| true);
        match want.is_any() || !tells || is_same().await {
            true => outcome,
            false => Err(Fault::Unsure),
        }
    }

    /// Whether one more replica could serve the read, so that a slow start on this one is not waited out.
    fn is_another(&self, topology: &Topology, node: &Arc<Node>, tried: Option<&Arc<Node>>) -> bool {
        let load = node.backend.load();
        if load.at_hand() > 0 || load.size >= load.max {
            return false;
        }
        let want = scope::hinted();
        let is_tried = |other: &Arc<Node>| {
            Arc::ptr_eq(other, node) || tried.is_some_and(|tried| Arc::ptr_eq(other, tried))
        };
        let mut others = topology.replicas.iter().filter(|other| !is_tried(other));
        others.any(|other| other.view(&want, &topology.primary, false, false).eligible)
    }

    /// Runs a read on a replica, and on a second one as well when the first is slow.
    async fn read_on<C: Call>(
        &self,
        topology: &Topology,
        node: &Arc<Node>,
        call: &C,
        attempt: Attempt,
    ) -> Result<C::Output, Fault> {
        self.policy.retries.deposit();
        let hedge = match &self.policy.hedge {
            Some(hedge) if call.may_run_twice() && !scope::pins() => hedge,
            _ => return self.run_kept(topology, node, call, attempt).await,
        };
        hedge.budget.deposit();
        let first = async {
            let begun = Instant::now();
            let answer = self.run_kept(topology, node, call, attempt).await;
            if answer.is_ok() && begun.elapsed() <= hedge.after {
                node.sluggish.was_in_time();
            }
            answer
        };
        let second = || {
            let second = self.hedge_with(hedge, topology, node)?;
            Some(async move {
                let answer = self.run_kept(topology, &second, call, Reason::Hedge).await;
                if answer.is_ok() {
                    second.metrics.hedge_won();
                    node.sluggish.lost(Instant::now());
                }
                answer
            })
        };
        let is_final = |fault: &Fault| step(Access::Read, true, fault.trouble()) == Step::Return;
        // Two statements at once are too large to carry through every read.
        Box::pin(race(first, hedge.after, second, is_final)).await
    }

    /// The other replica for a hedge, if there is one with a connection to spare and the budget allows it.
    fn hedge_with(
        &self,
        hedge: &Hedge,
        topology: &Topology,
        first: &Arc<Node>,
    ) -> Option<Arc<Node>> {
        let second = self.pick_from(topology, &scope::hinted(), Some(first))?;
        // One that lags serves for lack of another, and here is another.
        let may = second.backend.load().is_free() && !second.is_lagging();
        (may && hedge.budget.withdraw(Instant::now())).then_some(second)
    }

    /// A read is sent: what that allows of second tries.
    pub(crate) fn deposit(&self) {
        self.policy.retries.deposit();
    }

    /// Whether a read may be sent once more; one that never left this process always may.
    pub(crate) fn may_try_again(&self, node: &Node, fault: &Fault) -> bool {
        let may = !fault.was_sent() || self.policy.retries.withdraw(Instant::now());
        if !may {
            node.metrics.retry_refused();
        }
        may
    }

    /// The replica of this scope, or the one whose turn it is.
    fn next_replica(
        &self,
        topology: &Topology,
        tried: Option<&Arc<Node>>,
    ) -> Option<(Arc<Node>, Reason)> {
        let is_tried = |node: &Arc<Node>| tried.is_some_and(|t| Arc::ptr_eq(t, node));
        let want = scope::hinted();
        let serves = |node: &Arc<Node>| {
            topology.has(node) && node.health.is_in_rotation() && !is_tried(node)
        };
        if let Some(node) = scope::pinned(self.id()).filter(serves) {
            let fits = want.is_any() || node.meets(&want, &topology.primary);
            let reason = node.reason_or_stale(Reason::Pinned);
            return (fits && topology.is_replica(&node)).then_some((node, reason));
        }
        let node = self.pick_from(topology, &want, tried)?;
        scope::pin(self.id(), &node);
        let reason = if tried.is_some() {
            Reason::Retry
        } else {
            Reason::Read
        };
        let reason = node.reason_or_stale(reason);
        Some((node, reason))
    }

    /// The node for this statement of this task, if it is not for the fallback to decide.
    pub(crate) fn preview(&self, sql: &str) -> Option<Arc<str>> {
        let on_primary = self.access(Wants::Statement(sql)) == Access::Write
            || self.course(false) == Course::Primary;
        match on_primary {
            true => Some(Arc::clone(&self.topology().primary.id)),
            false => {
                let node = self.pick(&scope::hinted())?;
                Some(Arc::clone(&node.id))
            }
        }
    }

    /// A replica that meets `want`; one that lags only when that is better than none, and then the one that lags least.
    pub(crate) fn pick(&self, want: &Want<'_>) -> Option<Arc<Node>> {
        self.pick_from(&self.topology(), want, None)
    }

    fn pick_from(
        &self,
        topology: &Topology,
        want: &Want<'_>,
        tried: Option<&Arc<Node>>,
    ) -> Option<Arc<Node>> {
        // Only a first choice takes a turn: two pinned reads a page would otherwise leave every other replica idle, and a
        // hedge would give the next turn to the slow one again.
        let turn = match tried {
            Some(_) => self.turn.load(Ordering::Relaxed),
            None => self.turn.fetch_add(1, Ordering::Relaxed),
        };
        let hedged = self.policy.hedge.is_some().then(Instant::now);
        let timed = self.policy.balance == Balance::PeakEwma;
        let views = |stale: bool| -> Views {
            let views = topology.replicas.iter().map(|node| {
                let mut view = node.view(want, &topology.primary, stale, timed);
                view.eligible &= tried.is_none_or(|t| !Arc::ptr_eq(t, node));
                view.slow = hedged.is_some_and(|now| node.sluggish.is_passed_over(now));
                view
            });
            views.collect()
        };
        let stale_is_fine = self.policy.fallback == Fallback::StaleReplica && want.is_any();
        let stale = || {
            let seen_as_of = |index: usize| topology.replicas[index].lag_as_of();
            pick_stale(self.policy.balance, &views(true), seen_as_of, turn)
        };
        let index = pick(self.policy.balance, &views(false), turn)
            .or_else(|| stale_is_fine.then(stale)?)?;
        let node = &topology.replicas[index];
        if let Some(now) = hedged {
            node.sluggish.chosen(now);
        }
        Some(Arc::clone(node))
    }

    /// Tells clusters apart in the scope of a task.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

#[cfg(test)]
mod tests;
