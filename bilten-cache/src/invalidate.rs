//! Changes, and the one order in which they happen: L2, then the ticket, then L1.
//!
//! Each change runs in a task of its own. A caller that is dropped on the way therefore never leaves
//! half a change behind.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::engine::Engine;
use crate::entry::Entry;
use crate::envelope::Draft;
use crate::events::Event;
use crate::remote::{Author, Demand, Gate, Position, RemoteError, Scope, Turn};
use crate::spans::{self, Ask};

/// However long the budget is: loads wait for a claim whose writer has died.
const LONGEST_CLAIM: Duration = Duration::from_secs(10);

/// What is known when a change returns. This process never serves the old value again in any case.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bilten_cache::{Ack, Cache};
///
/// let cache = Cache::builder("shop").build().await?; // no second level
/// assert_eq!(cache.clear().await, Ack::Local);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ack {
    /// The second level knows of the change, and every connected process learns of it within a log delivery.
    Everywhere,
    /// There is no second level.
    Local,
    /// Nothing was changed: the cache or the region is read-only.
    ReadOnly,
    /// The second level could not be reached, or has too much to do. The change waits in a bounded queue; until it is delivered this process
    /// does not read what it concerns from the second level. Other processes may serve the old value until then, at most for
    /// their `isolated_ttl` if they are cut off too, and otherwise for its time to live.
    Deferred,
}

/// Invalidates a scope.
pub(crate) async fn invalidate(engine: &Arc<Engine>, scope: Scope) -> Ack {
    invalidate_after(engine, scope, None).await
}

/// The same; loads that begin later must reflect `after`.
pub(crate) async fn invalidate_after(
    engine: &Arc<Engine>,
    scope: Scope,
    after: Option<Demand>,
) -> Ack {
    if engine.read_only {
        return Ack::ReadOnly;
    }
    engine.meters.invalidations.add(1);
    tell(engine, || scope.clone());
    if engine.gate.is_none() {
        let span = spans::invalidation(&engine.name, scope.kind());
        return span.in_scope(|| invalidate_here(engine, &scope, after.as_ref()));
    }
    // Only a panic or a runtime that shuts down end the task early; nothing is known then.
    let told = invalidate_behind(engine, scope, after);
    told.await.unwrap_or(Ack::Deferred)
}

fn invalidate_here(engine: &Engine, scope: &Scope, after: Option<&Demand>) -> Ack {
    if let Some(after) = after {
        engine.coherence.demand(scope, after);
    }
    if let Some(key) = scope.key() {
        let mut writes = engine.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.interrupt(key);
    }
    engine.coherence.mark_here(scope);
    drop_from_memory(engine, scope);
    Ack::Local
}

fn invalidate_behind(engine: &Arc<Engine>, scope: Scope, after: Option<Demand>) -> JoinHandle<Ack> {
    let task = Arc::clone(engine);
    let span = spans::invalidation(&engine.name, scope.kind());
    let work = async move { invalidate_both(&task, scope, after).await };
    engine.tasks.spawn(work.instrument(span))
}

async fn invalidate_both(engine: &Engine, scope: Scope, after: Option<Demand>) -> Ack {
    let position = match &engine.gate {
        Some(gate) => change(engine, gate, &scope, after.as_ref()).await.ok(),
        None => None,
    };
    let ack = note(engine, &scope, after, position);
    drop_from_memory(engine, &scope);
    ack
}

async fn change(
    engine: &Engine,
    gate: &Gate,
    scope: &Scope,
    after: Option<&Demand>,
) -> Result<Position, RemoteError> {
    let turn = gate.turn().await?;
    change_in(engine, gate, &turn, scope, after).await
}

async fn change_in(
    engine: &Engine,
    gate: &Gate,
    turn: &Turn<'_>,
    scope: &Scope,
    after: Option<&Demand>,
) -> Result<Position, RemoteError> {
    demand(engine, gate, turn, scope, after).await?;
    let author = engine.coherence.author();
    gate.call_in(turn, Ask::Invalidate, |remote| {
        remote.invalidate(scope, author)
    })
    .await
}

/// Tells everybody what later loads must reflect, before the change itself: who sees the change must know.
async fn demand(
    engine: &Engine,
    gate: &Gate,
    turn: &Turn<'_>,
    scope: &Scope,
    after: Option<&Demand>,
) -> Result<(), RemoteError> {
    let Some(after) = after else { return Ok(()) };
    let wanted = engine.coherence.demand(scope, after);
    let author = engine.coherence.author();
    let told = gate.call_in(turn, Ask::Demand, |remote| remote.demand(&wanted, author));
    let told = told.await?;
    if let Some(position) = told {
        engine.acknowledge_demand(position);
    }
    Ok(())
}

/// Takes note of what L2 said, or did not say, before L1 is touched.
pub(crate) fn note(
    engine: &Engine,
    scope: &Scope,
    after: Option<Demand>,
    position: Option<Position>,
) -> Ack {
    if let Some(position) = position {
        engine.acknowledge(scope, position);
        return Ack::Everywhere;
    }
    engine.meters.deferred.add(1);
    // Where nobody else could be told, this process knows.
    if let Some(after) = &after {
        engine.coherence.demand(scope, after);
    }
    engine.recovery.push(scope.clone(), after);
    if scope.key().is_none() {
        engine.coherence.mark_waiting(scope);
    }
    Ack::Deferred
}

pub(crate) fn drop_from_memory(engine: &Engine, scope: &Scope) {
    match scope {
        Scope::Key(key) => {
            engine.tickets.bump(key, None);
            engine.memory.remove(key);
        }
        Scope::Expired(key) => {
            engine.tickets.bump(key, None);
            engine.memory.expire(key);
        }
        Scope::All => engine.memory.clear(),
        Scope::Tag(_) | Scope::Tags(_) | Scope::Pattern(_) => {}
    }
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) ack: Ack,
    /// Whether the second level has no room for one value of this size: memory alone keeps it.
    pub(crate) too_large: bool,
}

impl Written {
    pub(crate) fn of(ack: Ack) -> Self {
        Self {
            ack,
            too_large: false,
        }
    }
}

/// Where a claimed value went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// In L2, as far as anybody knows.
    There,
    /// Nowhere: somebody has changed the key since.
    Overtaken,
    TooLarge,
}

/// See [`Change::ending`].
pub(crate) trait Ending: Send {
    /// Of the write, and so of its claim.
    fn token(&self) -> u64;

    /// In the turn of the write, if it has one.
    fn end<'a>(
        self: Box<Self>,
        turn: Option<&'a Turn<'a>>,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
}

/// A value that its caller wants in both levels.
pub(crate) struct Change {
    pub(crate) key: Arc<str>,
    /// For L2; `None` when there is no L2 or nothing can be put there.
    pub(crate) envelope: Option<Draft>,
    pub(crate) keep: Duration,
    /// For L1; `None` when it is not to be kept there.
    pub(crate) entry: Option<Entry>,
    pub(crate) ticket: crate::ticket::Ticket,
    /// Ends the write of the source that the value comes from, and says whether it was the only one. Then the value is as old as its entry
    /// says, and not made at this moment: what was invalidated meanwhile is newer.
    pub(crate) ending: Option<Box<dyn Ending>>,
    /// What later loads must reflect.
    pub(crate) after: Option<Demand>,
}

pub(crate) fn tell(engine: &Engine, scope: impl FnOnce() -> Scope) {
    let event = || Event::Invalidated {
        scope: scope(),
        here: true,
    };
    engine.teller.tell(event);
}

/// Puts a value into both levels.
pub(crate) async fn write(engine: &Arc<Engine>, mut change: Change) -> Written {
    tell(engine, || Scope::Key(Arc::clone(&change.key)));
    if engine.gate.is_none() {
        if let Some(after) = &change.after {
            let scope = Scope::Key(Arc::clone(&change.key));
            engine.coherence.demand(&scope, after);
        }
        match end(&mut change, None).await {
            true => put_in_memory(engine, change, None, false),
            false => drop_from_memory(engine, &Scope::Key(change.key)),
        }
        return Written::of(Ack::Local);
    }
    let written = write_behind(engine, change);
    written.await.unwrap_or(Written::of(Ack::Deferred))
}

/// Not where it is waited for: what a task is made of would be in the future of each write as well.
fn write_behind(engine: &Arc<Engine>, change: Change) -> JoinHandle<Written> {
    let task = Arc::clone(engine);
    let span = spans::write(&engine.name, 1);
    let work = async move { write_both(&task, change).await };
    engine.tasks.spawn(work.instrument(span))
}

async fn write_both(engine: &Engine, mut change: Change) -> Written {
    let scope = Scope::Key(Arc::clone(&change.key));
    // Without the log nothing that others could read can be put there.
    let envelope = change
        .envelope
        .take()
        .filter(|_| engine.coherence.is_synced());
    let after = change.after.take();
    // A write of the source must not look like somebody else's change, also where its value stays in memory.
    let is_older = change.ending.is_some();
    let claims = envelope.is_some() || is_older;
    let own = change.ending.as_ref().map(|ending| ending.token());
    let way = Way::to(engine, own).await;
    let position = match &way {
        Some(way) if claims => way.claim(&scope, after.as_ref(), is_older).await.ok(),
        // What is there must go.
        Some(way) => {
            let changed = change_in(engine, way.gate, &way.turn, &scope, after.as_ref());
            changed.await.ok()
        }
        None => None,
    };
    // Under the claim, and before anybody can read the value: whoever changes the key from here on takes the claim with it.
    let alone = end(&mut change, way.as_ref().map(|way| &way.turn)).await;
    let envelope = envelope.filter(|_| alone);
    if let (Some(way), Some(_), true, None) = (&way, position, claims, &envelope) {
        way.release(&change.key).await;
    }
    let ack = note(engine, &scope, after, position);
    let placed = match (&way, position, envelope) {
        _ if !alone => Placed::Overtaken,
        (Some(way), Some(position), Some(envelope)) => {
            // The write happened at its own record: what was invalidated before it is older. Of one that began before its claim that
            // is not known.
            let envelope = match is_older {
                true => envelope.claimed_at(position.number),
                false => envelope.placed_at(position.number),
            };
            way.store(&change.key, position, envelope, change.keep)
                .await
        }
        _ => Placed::There,
    };
    drop(way);
    if placed == Placed::Overtaken {
        drop_from_memory(engine, &scope);
    } else {
        put_in_memory(engine, change, position, is_older);
    }
    Written {
        ack,
        too_large: placed == Placed::TooLarge,
    }
}

/// The way of one write to the second level: a claim, and then a store or what gives the claim back.
struct Way<'a> {
    engine: &'a Engine,
    gate: &'a Gate,
    turn: Turn<'a>,
    author: Author,
    /// Of the claim.
    token: u64,
}

impl<'a> Way<'a> {
    /// In one turn, or others would come between a claim and what ends it.
    async fn to(engine: &'a Engine, own: Option<u64>) -> Option<Self> {
        let gate = engine.gate.as_ref()?;
        let token = own.unwrap_or_else(|| fastrand::u64(1..));
        Some(Self {
            engine,
            gate,
            turn: gate.turn().await.ok()?,
            author: engine.coherence.author(),
            token,
        })
    }

    async fn claim(
        &self,
        scope: &Scope,
        after: Option<&Demand>,
        is_older: bool,
    ) -> Result<Position, RemoteError> {
        let (gate, turn) = (self.gate, &self.turn);
        demand(self.engine, gate, turn, scope, after).await?;
        let key = scope.key().map_or("", |key| key);
        // Of a write of the source the end comes in between.
        let hold = hold(gate.budget(), if is_older { 3 } else { 2 });
        gate.call_in(turn, Ask::Claim, |remote| {
            remote.claim(key, self.token, hold, self.author)
        })
        .await
    }

    /// Nothing will be stored. If this fails, the claim runs out by itself.
    async fn release(&self, key: &str) {
        let (gate, turn) = (self.gate, &self.turn);
        let release = gate.call_in(turn, Ask::Release, |remote| remote.release(key, self.token));
        let _ = release.await;
    }

    /// Stores a value whose key was claimed there, unless that was in another log than it is for.
    async fn store(&self, key: &str, claimed: Position, envelope: Bytes, keep: Duration) -> Placed {
        if claimed.incarnation != self.author.incarnation {
            return Placed::There;
        }
        let (gate, turn) = (self.gate, &self.turn);
        let stored = gate.store_in(turn, key, self.token, envelope, keep);
        match stored.await {
            Ok(false) => Placed::Overtaken,
            Err(RemoteError::TooLarge { .. }) => Placed::TooLarge,
            // Not knowing costs nothing: the old value is gone, and this one is stored only while the claim stands.
            Ok(true) | Err(_) => Placed::There,
        }
    }
}

/// Ends the write of the source. Whether it was the only one all the time: of several, and of one that something else overlapped with, nobody
/// knows which is the newest.
async fn end(change: &mut Change, turn: Option<&Turn<'_>>) -> bool {
    match change.ending.take() {
        Some(ending) => ending.end(turn).await,
        None => true,
    }
}

/// How long a write keeps its claim, for so many calls: a store that comes later was given up before.
pub(crate) fn hold(budget: Duration, calls: u32) -> Duration {
    (budget * calls).min(LONGEST_CLAIM)
}

pub(crate) fn put_in_memory(
    engine: &Engine,
    mut change: Change,
    position: Option<Position>,
    is_older: bool,
) {
    if let (Some(position), Some(entry), false) = (position, &mut change.entry, is_older) {
        entry.position = entry.position.max(position.number);
    }
    let ticket = engine.tickets.bump(&change.key, Some(change.ticket));
    let fill = ticket.zip(change.entry);
    if !fill.is_some_and(|(ticket, entry)| engine.fill(&change.key, entry, ticket)) {
        // Not wanted here, or another change overlapped with this one, and L2 alone knows which came last.
        engine.memory.remove(&change.key);
    }
}
