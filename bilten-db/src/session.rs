//! Reads that see their own writes and never go back in time.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::attempt::Attempt;
use crate::call::{Call, Noted};
use crate::failover::{Step, step};
use crate::fallback::or_full;
use crate::fault::{Fault, Trouble};
use crate::freshness::{self, Freshness, Want};
use crate::lag::STALE;
use crate::metrics::Reason;
use crate::node::Node;
use crate::pool_config::LONGEST;
use crate::router::Router;
use crate::routing::Course;
use crate::scope::{self, Route};
use crate::{Error, Token};

const WAIT: Duration = Duration::from_millis(50);

/// The reads and writes of one request, in order.
///
/// - The first read picks a replica and the others stay with it, so they agree about the data and never see an earlier
///   state than before.
/// - After a write, reads go to the primary: they see it.
/// - When the replica is lost, the primary goes on as [`Fallback`](crate::Fallback) allows: no other replica is known to
///   be as far.
/// - With the [`Token`] of an earlier session, the replica must have replayed everything up to it, by its own word; one
///   that is nearly there is waited for, otherwise the primary answers.
///
/// Take one per request; it is shared by reference.
///
/// ```
/// use bilten_db::Cluster;
/// use bilten_db::sea_orm::ConnectionTrait;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// # let db = Cluster::builder().primary("sqlite::memory:").connect().await?;
/// let session = db.session();
/// session.execute_unprepared("CREATE TABLE event (id integer primary key)").await?;
/// assert!(session.wrote());
/// if let Some(token) = session.token().await? {
///     // A later request, perhaps in another process, brings the token along.
///     let next = db.session_with(token);
///     next.execute_unprepared("SELECT * FROM event").await?;
/// }
/// # Ok(()) }
/// ```
pub struct Session {
    router: Arc<Router>,
    token: Option<Token>,
    max_lag: Option<Duration>,
    group: Option<Arc<str>>,
    wait: Duration,
    wrote: AtomicBool,
    on_primary: AtomicBool,
    /// Its replica was lost, and whether the primary may go on is asked for each read.
    left: AtomicBool,
    /// Its replica was not as new as asked, so the primary goes on: that was promised.
    outrun: AtomicBool,
    /// A replica that lags too much has answered.
    showed_stale: AtomicBool,
    replica: OnceCell<Option<Pinned>>,
}

/// The replica of a session, as it was when it was chosen.
///
/// A server that is started again may show an earlier state than before, until it has replayed as far.
struct Pinned {
    node: Arc<Node>,
    started: i64,
}

impl Pinned {
    fn new(node: Arc<Node>) -> Self {
        let started = node.past.started();
        Self { node, started }
    }

    fn is_the_same(&self) -> bool {
        self.node.past.started() == self.started
    }
}

impl Session {
    pub(crate) fn new(router: Arc<Router>, token: Option<Token>) -> Self {
        Self {
            router,
            token,
            max_lag: None,
            group: None,
            wait: WAIT,
            wrote: AtomicBool::new(false),
            on_primary: AtomicBool::new(false),
            left: AtomicBool::new(false),
            outrun: AtomicBool::new(false),
            showed_stale: AtomicBool::new(false),
            replica: OnceCell::new(),
        }
    }

    /// Reads from a replica only when it is known to be at most this far behind. Not limited by default.
    ///
    /// This is [`Freshness::MaxLag`], which says what can be known.
    #[must_use]
    pub fn max_lag(mut self, limit: Duration) -> Self {
        self.max_lag = Some(limit);
        self
    }

    /// How new the data must be that the reads see. Not demanded by default.
    ///
    /// [`Freshness::MaxLag`] is [`max_lag`](Self::max_lag), [`Freshness::AtLeast`] takes the place of the token that the
    /// session began with, and with [`Freshness::Primary`] all reads go to the primary.
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.max_lag = freshness.max_lag();
        self.token = freshness.at_least().or(self.token);
        let on_primary = freshness == Freshness::Primary;
        self.on_primary = AtomicBool::new(on_primary);
        self
    }

    /// Reads from the replicas of this [`group`](crate::Replica::group) only, until something is written.
    ///
    /// Without one in rotation, and after the one that served them was lost, reads fail with [`Error::NoReplica`]: work
    /// that was set apart is not meant for the primary.
    #[must_use]
    pub fn group(mut self, name: impl Into<Arc<str>>) -> Self {
        self.group = Some(name.into());
        self
    }

    /// Longest wait for a replica to reach the token. Defaults to 50 ms; zero does not wait.
    #[must_use]
    pub fn wait(mut self, limit: Duration) -> Self {
        self.wait = limit.min(LONGEST);
        self
    }

    /// Whether a write or a transaction was begun here, successful or not: a commit whose answer was lost may have
    /// happened.
    #[must_use]
    pub fn wrote(&self) -> bool {
        self.wrote.load(Ordering::Acquire)
    }

    /// The name of the node that serves the reads now; `None` before the first, and when no replica does and the primary
    /// may not.
    #[must_use]
    pub fn node(&self) -> Option<String> {
        let primary = || self.router.topology().primary.id.to_string();
        if self.stays_on_primary() || self.outrun.load(Ordering::Acquire) {
            return Some(primary());
        }
        let left = self.left.load(Ordering::Acquire);
        match self.replica.get()? {
            Some(pinned) if !left => Some(pinned.node.id.to_string()),
            _ => {
                let promised = || !left && !self.want().is_any();
                let may = self.router.primary_stands_in() || promised();
                (may && self.group.is_none()).then(primary)
            }
        }
    }

    /// Whether the replica that serves the reads lags more than
    /// [`ClusterBuilder::max_lag`](crate::ClusterBuilder::max_lag) allows, so that what they show may be older than that: it was all that
    /// [`Fallback::StaleReplica`](crate::Fallback::StaleReplica) had, or it fell behind after the first read. Once such a replica has
    /// answered it stays so, whatever becomes of the replica: what was shown is as old as before.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let is_left = [&self.left, &self.outrun].map(|left| left.load(Ordering::Acquire));
        let pinned = self.replica.get().and_then(Option::as_ref);
        let lags = || pinned.is_some_and(|pinned| pinned.node.is_lagging());
        self.showed_stale.load(Ordering::Acquire)
            || (!self.stays_on_primary() && is_left == [false; 2] && lags())
    }

    /// The point that the next session must have reached to see the writes of this one.
    ///
    /// Without a write here it is the token that this session began with, if any. Call it after the last commit: it asks
    /// the primary once.
    ///
    /// # Errors
    ///
    /// [`Error::Db`] when the primary cannot be asked, [`Error::Deadline`] when that takes longer than is left,
    /// [`Error::Closed`].
    pub async fn token(&self) -> Result<Option<Token>, Error> {
        if !self.wrote() {
            return Ok(self.token);
        }
        let primary = Arc::clone(&self.router.topology().primary);
        let asked = Instant::now();
        let sample = async {
            let sample = primary.backend.sample().await;
            sample.map_err(|fault| primary.db_err(fault))
        };
        let sample = self.router.in_time(false, || false, sample).await?;
        let token = Token::of(&sample);
        // Whoever comes with the token must find that the primary is as far.
        primary.saw(asked, sample);
        Ok(Some(token))
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }

    pub(crate) async fn run<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        let access = self.router.access(call.wants());
        let write = call.wants().may_change(access);
        let hides = || self.router.may_write(call.wants());
        let served = pin!(self.serve(call, access));
        self.router.in_time(write, hides, served).await
    }

    async fn serve<C: Call>(&self, call: &C, access: Access) -> Result<C::Output, DbErr> {
        if access == Access::Write {
            // Before it is sent: whatever becomes of it, later reads must be able to see it.
            self.wrote.store(true, Ordering::Release);
            return self.router.write(call).await;
        }
        let asked_for = self.router.course(true) == Course::Primary;
        if asked_for {
            // What it shows now is newer than what any replica may show later.
            self.on_primary.store(true, Ordering::Release);
        }
        if asked_for || self.stays_on_primary() {
            let attempt = Reason::Pinned.into();
            return self
                .router
                .read_on_primary(&self.noted(call), attempt)
                .await;
        }
        let attempt = Attempt::from(Reason::Fallback);
        let set_apart = self.is_set_apart();
        if self.left.load(Ordering::Acquire) {
            return self.stand_in(call, attempt).await;
        }
        if self.outrun.load(Ordering::Acquire) {
            return match set_apart {
                true => Err(Error::NoReplica.into()),
                false => self.keep_promise(call, attempt).await,
            };
        }
        let chosen = self.replica.get_or_try_init(|| async {
            match self.choose().await {
                // Nothing will be shown, so the next read may choose anew.
                None if set_apart || !self.router.primary_stands_in() => Err(()),
                chosen => Ok(chosen),
            }
        });
        match chosen.await {
            Ok(Some(pinned)) => self.read(pinned, call).await,
            Err(()) if !set_apart && self.want().is_any() => self.without_replica(call).await,
            _ if set_apart || self.want().is_any() => self.stand_in(call, attempt).await,
            // What it shows now is newer than what a replica that is chosen later may show.
            _ => self.pass_over(call).await,
        }
    }

    /// Whether this read is not meant for the primary.
    fn is_set_apart(&self) -> bool {
        self.group.is_some() || scope::route().is_some_and(Route::is_replicas_only)
    }

    /// What may hide a write counts as one once it is sent to where writes are taken.
    fn noted<'a, C: Call>(&'a self, call: &'a C) -> Noted<'a, C> {
        // What is known already need not be found out.
        let hides = || self.router.may_write(call.wants());
        let sent = (!self.wrote() && hides()).then_some(&self.wrote);
        Noted { call, sent }
    }

    async fn stand_in<C: Call>(&self, call: &C, attempt: Attempt) -> Result<C::Output, DbErr> {
        let group = self.group.as_deref();
        self.router
            .stand_in(&self.noted(call), attempt, group)
            .await
    }

    async fn keep_promise<C: Call>(&self, call: &C, attempt: Attempt) -> Result<C::Output, DbErr> {
        self.router.keep_promise(&self.noted(call), attempt).await
    }

    fn stays_on_primary(&self) -> bool {
        let on_primary = || self.on_primary.load(Ordering::Acquire);
        self.wrote() || (on_primary() && !self.left.load(Ordering::Acquire))
    }

    async fn read<C: Call>(&self, pinned: &Pinned, call: &C) -> Result<C::Output, DbErr> {
        let node = &pinned.node;
        let reason = node.reason_or_stale(Reason::Pinned);
        let attempt = Attempt::from(reason);
        let want = self.want();
        if !node.is_of(want.group) {
            // No replica of the other group is known to be as far as the one that answered before.
            return self.pass_over(call).await;
        }
        if !node.health.is_in_rotation() || !self.router.topology().has(node) {
            return self.leave_replica(call, attempt).await;
        }
        if !self.still_meets(node, &want).await {
            return self.pass_over(call).await;
        }
        if !pinned.is_the_same() {
            return self.leave_replica(call, attempt).await;
        }
        self.router.deposit();
        // It may have come on a connection that was opened for it, to a server that was started meanwhile; an error too, of a
        // table that is not there yet.
        let outcome = node.run(call, attempt).await;
        let tells = outcome.as_ref().map_or_else(Fault::is_answer, |_| true);
        let is_sure = !tells || (node.is_sure_of_start().await && pinned.is_the_same());
        let fault = match outcome {
            _ if !is_sure => Fault::Unsure,
            Ok(output) => {
                if reason == Reason::Stale {
                    self.showed_stale.store(true, Ordering::Release);
                }
                return Ok(output);
            }
            Err(fault) => fault,
        };
        match step(Access::Read, true, fault.trouble()) {
            Step::Return => Err(node.db_err(fault)),
            Step::Learn => {
                self.wrote.store(true, Ordering::Release);
                self.router.learn(call, attempt).await
            }
            Step::Ask if node.answers().await => Err(node.db_err(fault)),
            Step::Ask | Step::Elsewhere if !self.router.may_try_again(node, &fault) => {
                Err(node.db_err(fault))
            }
            Step::Ask | Step::Elsewhere => {
                let again = attempt.again(Reason::Retry);
                let left = self.leave_replica(call, again).await;
                left.map_err(|error| or_full(error, full(node, fault)))
            }
        }
    }

    /// The replica is well, but not what this read asks for: the primary goes on unless the work was set apart.
    async fn pass_over<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        if self.is_set_apart() {
            return Err(Error::NoReplica.into());
        }
        let output = self.keep_promise(call, Reason::Fallback.into()).await?;
        // Only now something newer was shown.
        self.outrun.store(true, Ordering::Release);
        Ok(output)
    }

    /// No replica is there, and the primary is not meant to stand in for one: where there are none at all it answers.
    async fn without_replica<C: Call>(&self, call: &C) -> Result<C::Output, DbErr> {
        let output = self.stand_in(call, Reason::Fallback.into()).await?;
        // One that joins may be behind what was shown.
        self.outrun.store(true, Ordering::Release);
        Ok(output)
    }

    /// No other replica is known to be as far, so the primary goes on if it may.
    async fn leave_replica<C: Call>(&self, call: &C, attempt: Attempt) -> Result<C::Output, DbErr> {
        self.left.store(true, Ordering::Release);
        self.stand_in(call, attempt).await
    }

    fn want(&self) -> Want<'_> {
        let wanted = freshness::wanted();
        let hinted = || scope::route().and_then(Route::group);
        Want {
            group: self.group.as_deref().or_else(hinted),
            max_lag: self.max_lag.into_iter().chain(wanted.max_lag()).min(),
            at_least: match (self.token, wanted.at_least()) {
                (Some(own), Some(other)) => Some(own.stricter(other)),
                (own, other) => own.or(other),
            },
        }
    }

    /// The replica for all reads; `None` when only the primary will do.
    async fn choose(&self) -> Option<Pinned> {
        let want = self.want();
        // Once more: since it was chosen another start may have been told, of which nothing is proven.
        let primary = Arc::clone(&self.router.topology().primary);
        let is_proven = |pinned: &Pinned| want.is_any() || pinned.node.meets(&want, &primary);
        let pinned = self.router.pick(&want).map(Pinned::new);
        if let Some(pinned) = pinned.filter(is_proven) {
            return Some(pinned);
        }
        let token = want.at_least?;
        let any = Want {
            at_least: None,
            ..want
        };
        // One that is known to be far behind will not be there in time.
        let near = self.wait.saturating_add(STALE);
        let is_far = |node: &Arc<Node>| {
            let lag = node.seen().and_then(|seen| seen.lag);
            lag.is_some_and(|lag| lag.as_of.elapsed() > near)
        };
        let node = match self.router.pick(&any)? {
            far if is_far(&far) => self.router.pick(&Want {
                max_lag: Some(want.max_lag.map_or(near, |limit| limit.min(near))),
                ..any
            })?,
            node => node,
        };
        let pinned = Pinned::new(node);
        self.reaches(&pinned.node, token).await.then_some(pinned)
    }

    /// Whether the replica is as new as this read asks for: the limit may have been passed since it was chosen, and the
    /// task may ask for more. What the session itself began with is reached for good.
    async fn still_meets(&self, node: &Arc<Node>, want: &Want<'_>) -> bool {
        // Its own was met when it was chosen.
        let token = want.at_least.filter(|token| self.token != Some(*token));
        let lag = Want {
            at_least: None,
            ..*want
        };
        let all = Want {
            at_least: token,
            ..*want
        };
        if all.is_any() {
            return true;
        }
        let primary = Arc::clone(&self.router.topology().primary);
        if node.meets(&all, &primary) {
            return true;
        }
        match token {
            Some(token) if lag.is_any() || node.meets(&lag, &primary) => {
                self.reaches(node, token).await
            }
            _ => false,
        }
    }

    /// Asks the replica itself, again and again until the budget is spent.
    async fn reaches(&self, node: &Arc<Node>, token: Token) -> bool {
        let asked = async {
            let mut pause = Duration::from_millis(1);
            loop {
                let primary = self.router.topology().primary.seen()?.sample;
                if !token.is_near(&primary) {
                    return None;
                }
                let sample = node.position().await?;
                if token.is_reached(&sample, &primary) {
                    return Some(());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(8));
            }
        };
        let budget = self.wait.max(Duration::from_millis(1));
        matches!(tokio::time::timeout(budget, asked).await, Ok(Some(())))
    }
}

/// What to tell of a pool that is full.
fn full(node: &Node, fault: Fault) -> Option<DbErr> {
    (fault.trouble() == Trouble::Busy).then(|| node.db_err(fault))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("node", &self.node())
            .field("wrote", &self.wrote())
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
