//! Changes of many keys, in the order of [`invalidate`]: each step of the second level is one call for all of them.
//!
//! They run in a task, as those of single keys do.

use std::sync::Arc;

use tracing::Instrument;

use crate::engine::Engine;
use crate::envelope::Draft;
use crate::invalidate::{self, Ack, Change, Written, drop_from_memory, note, put_in_memory, tell};
use crate::remote::{Author, Each, Gate, Parcel, Position, RemoteError, Scope, Turn};
use crate::spans::{self, Ask};

/// The largest value that is stored together with others: a larger one would hold them up.
const LARGEST: usize = 64 << 10;

/// Whether the change may be made together with others: it claims its key, and asks for nothing else.
pub(crate) fn is_plain(engine: &Engine, change: &Change) -> bool {
    let fits = |envelope: &Draft| envelope.len() <= LARGEST;
    engine.gate.is_some()
        && change.envelope.as_ref().is_some_and(fits)
        && change.after.is_none()
        && change.ending.is_none()
}

/// Removes many keys. The weakest answer counts.
pub(crate) async fn remove(engine: &Arc<Engine>, keys: Vec<Arc<str>>) -> Ack {
    if engine.gate.is_none() {
        for key in keys {
            invalidate::invalidate(engine, Scope::Key(key)).await;
        }
        return Ack::Local;
    }
    engine.meters.invalidations.add(keys.len() as u64);
    for key in &keys {
        tell(engine, || Scope::Key(Arc::clone(key)));
    }
    let task = Arc::clone(engine);
    let removal = async move { remove_both(&task, keys).await };
    let span = spans::invalidation(&engine.name, "keys");
    let removal = engine.tasks.spawn(removal.instrument(span)).await;
    removal.unwrap_or(Ack::Deferred)
}

async fn remove_both(engine: &Engine, keys: Vec<Arc<str>>) -> Ack {
    let author = engine.coherence.author();
    let removed = match &engine.gate {
        Some(gate) => match gate.turn_for(keys.len()).await {
            Ok(turn) => remove_in(gate, &turn, &keys, author).await,
            Err(error) => Err(error),
        },
        None => Err(RemoteError::Overloaded),
    };
    let mut weakest = Ack::Everywhere;
    let mut positions = told(removed);
    for key in keys {
        let scope = Scope::Key(key);
        if note(engine, &scope, None, positions.next().flatten()) == Ack::Deferred {
            weakest = Ack::Deferred;
        }
        drop_from_memory(engine, &scope);
    }
    weakest
}

/// Puts many values into both levels, all of them [plain](is_plain). What became of each, in their order.
pub(crate) async fn write(engine: &Arc<Engine>, changes: Vec<Change>) -> Vec<(Arc<str>, Written)> {
    for change in &changes {
        tell(engine, || Scope::Key(Arc::clone(&change.key)));
    }
    let keys: Vec<Arc<str>> = changes
        .iter()
        .map(|change| Arc::clone(&change.key))
        .collect();
    let task = Arc::clone(engine);
    let span = spans::write(&engine.name, keys.len());
    let written = engine
        .tasks
        .spawn(async move { write_both(&task, changes).await }.instrument(span));
    let unknown = |_| vec![Written::of(Ack::Deferred); keys.len()];
    let written = written.await.unwrap_or_else(unknown);
    keys.into_iter().zip(written).collect()
}

/// A change, the token of its claim, and the record of that.
type Claimed = (Change, u64, Option<Position>);

async fn write_both(engine: &Engine, changes: Vec<Change>) -> Vec<Written> {
    let Some(gate) = &engine.gate else {
        return Vec::new();
    };
    let author = engine.coherence.author();
    // One for both steps, as a single write has.
    let turn = gate.turn_for(changes.len()).await.ok();
    let mut claimed = claim(engine, gate, turn.as_ref(), changes, author).await;
    let mut written = Vec::with_capacity(claimed.len());
    let (mut parcels, mut stored) = (Vec::new(), Vec::with_capacity(claimed.len()));
    for (change, token, position) in &mut claimed {
        let scope = Scope::Key(Arc::clone(&change.key));
        written.push(Written::of(note(engine, &scope, None, *position)));
        let position = position.filter(|at| at.incarnation == author.incarnation);
        let parcel = position.zip(change.envelope.take());
        stored.push(parcel.is_some());
        parcels.extend(parcel.map(|(position, envelope)| {
            // The write happened at its own record: what was invalidated before it is older.
            let envelope = envelope.placed_at(position.number);
            Parcel::new(Arc::clone(&change.key), *token, envelope, change.keep)
        }));
    }
    let mut answers = store(gate, turn.as_ref(), &parcels).await.into_iter();
    drop(turn);
    let all = claimed.into_iter().zip(&mut written).zip(stored);
    for (((change, _, position), written), stored) in all {
        // Not knowing costs nothing: the old value is gone, and this one is stored only while the claim stands.
        let answer = if stored { answers.next() } else { None };
        match answer.unwrap_or(Ok(true)) {
            Ok(false) => drop_from_memory(engine, &Scope::Key(change.key)),
            answer => {
                written.too_large = matches!(answer, Err(RemoteError::TooLarge { .. }));
                put_in_memory(engine, change, position, false);
            }
        }
    }
    written
}

/// Without the log nothing that others could read can be put there: then what is there goes, and nothing follows it.
async fn claim(
    engine: &Engine,
    gate: &Gate,
    turn: Option<&Turn<'_>>,
    mut changes: Vec<Change>,
    author: Author,
) -> Vec<Claimed> {
    let token = |change: &Change| (Arc::clone(&change.key), fastrand::u64(1..));
    let keys: Vec<(Arc<str>, u64)> = changes.iter().map(token).collect();
    let claims = if let (Some(turn), true) = (turn, engine.coherence.is_synced()) {
        let hold = invalidate::hold(gate.budget(), 2);
        gate.each(
            turn,
            Ask::Claim,
            &keys,
            |remote| remote.claim_many(&keys, hold, author),
            |remote, (key, token)| remote.claim(key, *token, hold, author),
        )
        .await
    } else if let Some(turn) = turn {
        for change in &mut changes {
            change.envelope = None;
        }
        let keys: Vec<Arc<str>> = keys.iter().map(|(key, _)| Arc::clone(key)).collect();
        remove_in(gate, turn, &keys, author).await
    } else {
        Err(RemoteError::Overloaded)
    };
    let mut positions = told(claims);
    let claimed = |(change, (_, token))| (change, token, positions.next().flatten());
    changes.into_iter().zip(keys).map(claimed).collect()
}

async fn remove_in(
    gate: &Gate,
    turn: &Turn<'_>,
    keys: &[Arc<str>],
    author: Author,
) -> Result<Each<Position>, RemoteError> {
    gate.each(
        turn,
        Ask::Invalidate,
        keys,
        |remote| remote.remove_many(keys, author),
        |remote, key| {
            Box::pin(async move {
                let scope = Scope::Key(Arc::clone(key));
                remote.invalidate(&scope, author).await
            })
        },
    )
    .await
}

async fn store(gate: &Gate, turn: Option<&Turn<'_>>, parcels: &[Parcel]) -> Each<bool> {
    match turn.filter(|_| !parcels.is_empty()) {
        Some(turn) => gate.store_many(turn, parcels).await.unwrap_or_default(),
        None => Vec::new(),
    }
}

/// The records of those that have one.
fn told(answers: Result<Each<Position>, RemoteError>) -> impl Iterator<Item = Option<Position>> {
    answers.unwrap_or_default().into_iter().map(Result::ok)
}
