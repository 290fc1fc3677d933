//! Where the log stands, and which of it may be followed.

use std::time::Duration;

use super::interruption::Interruption;
use super::patience::{PATIENCE, within};
use crate::clock::Nanos;
use crate::engine::Engine;
use crate::remote::{Gate, RemoteError, Scope};

/// What a snapshot may take: tens of thousands of markers, page by page. Each page must come in time.
const LONGEST_SNAPSHOT: Duration = Duration::from_secs(20);
/// Told once; loads ask their source for its newest state until it is over.
const FOREIGN_DEMANDS: &str =
    "WRONGTYPE another program wrote where is kept what loads must reflect";

/// Begins a new incarnation where that is owed: what an older copy forgot nobody knows, so nothing of its own counts any more.
pub(super) async fn renew(engine: &Engine, gate: &Gate) -> Result<(), RemoteError> {
    let coherence = &engine.coherence;
    let Some(author) = coherence.renewer() else {
        return Ok(());
    };
    let pulse = within(PATIENCE, || gate.remote().pulse(coherence.applied())).await?;
    if !coherence.is_due(pulse.position, pulse.stamp) || engine.read_only {
        return Ok(());
    }
    within(PATIENCE, || gate.remote().invalidate(&Scope::All, author)).await?;
    coherence.renewed();
    Ok(())
}

/// What was known when a snapshot was asked for.
pub(super) struct Looked {
    pub(super) doubts: u64,
    seen: u64,
    asked: Nanos,
    /// Whether it is the log that was followed: what is delivered to another one puts the snapshot in doubt, each time.
    pub(super) is_followed: bool,
}

/// Loads position, incarnation and markers, without which nothing in L2 can be trusted.
pub(super) async fn sync(engine: &Engine, gate: &Gate) -> Result<(), Interruption> {
    let looked = look(engine, gate).await?;
    load(engine, gate, looked).await
}

/// Which log it is, before its markers are asked for.
pub(super) async fn look(engine: &Engine, gate: &Gate) -> Result<Looked, Interruption> {
    renew(engine, gate).await?;
    let coherence = &engine.coherence;
    let (doubts, seen) = (coherence.doubts(), coherence.seen());
    let asked = engine.clock.now();
    // A snapshot would begin a log, does not tell whether it is the one that was followed, and may take its time.
    let pulse = within(PATIENCE, || gate.remote().pulse(coherence.applied())).await?;
    match pulse.position {
        None if engine.read_only => return Err(Interruption::Unwritten),
        Some(at) if coherence.is_older(at, seen, pulse.stamp) => {
            given_up(engine, gate, at.incarnation).await?;
        }
        _ => {}
    }
    let at = pulse.position;
    let is_followed = at.is_some_and(|at| at.incarnation == coherence.incarnation());
    Ok(Looked {
        doubts,
        seen,
        asked,
        is_followed,
    })
}

/// Loads the markers, and follows their log from there on.
pub(super) async fn load(engine: &Engine, gate: &Gate, looked: Looked) -> Result<(), Interruption> {
    let coherence = &engine.coherence;
    let Looked {
        doubts,
        seen,
        asked,
        ..
    } = looked;
    let snapshot = within(LONGEST_SNAPSHOT, || gate.remote().snapshot()).await?;
    let is_older = coherence.is_older(snapshot.position, seen, None);
    if is_older {
        given_up(engine, gate, snapshot.position.incarnation).await?;
    }
    coherence.set_server_time(snapshot.server_millis, engine.clock.now());
    if snapshot.foreign_demands {
        gate.refused(&RemoteError::Refused(FOREIGN_DEMANDS.to_owned()));
    }
    engine.meters.log_unreadable.add(snapshot.unreadable);
    match is_older {
        true => coherence.adopt_older(&snapshot, doubts),
        false => coherence.adopt(&snapshot, doubts),
    }
    engine.memory.clear();
    coherence.settle();
    coherence.contact(asked);
    gate.answered();
    Ok(())
}

/// This log must not go on. Who only reads can do nothing about that, and follows it with care.
async fn given_up(engine: &Engine, gate: &Gate, incarnation: u64) -> Result<(), Interruption> {
    engine.coherence.owe(incarnation);
    if engine.read_only {
        return Ok(());
    }
    renew(engine, gate).await?;
    Err(Interruption::Lost)
}
