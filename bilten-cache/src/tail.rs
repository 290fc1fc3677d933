//! The task that follows the log.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::ageing::Ageing;
use crate::clock::{Nanos, nanos};
use crate::engine::Engine;
use crate::gauges::Gauges;
use crate::recovery::Pending;
use crate::remote::{Gate, Noticed, RemoteError, Scope};
use crate::status::Status;

/// How long one read of the log waits for news.
const WAIT: Duration = Duration::from_millis(500);
/// What a call that should answer at once may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the log's position, its incarnation and the store's clock are sampled.
const PULSE: Nanos = 1_000_000_000;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why following the log was interrupted.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("an invalidation that waits could not be delivered: {0}")]
    Undelivered(RemoteError),
    #[error("records of the log are missing")]
    Gap,
    #[error("the log was lost or replaced")]
    Lost,
    #[error("no process that writes has begun a log yet")]
    Unwritten,
}

/// Reads the log's state once, so that the first reads can use L2, and goes on in a task.
pub(crate) async fn start(engine: &Arc<Engine>) -> JoinHandle<()> {
    if let Some(gate) = &engine.gate {
        let synced = sync(engine, gate).await;
        report(gate, synced.as_ref().err());
    }
    tokio::spawn(follow(Arc::clone(engine)))
}

async fn follow(engine: Arc<Engine>) {
    let Some(gate) = &engine.gate else { return };
    let mut tail = Tail {
        engine: &engine,
        gate,
        gauges: Gauges::new(&engine.name),
        next_pulse: 0,
        ageing: Ageing::default(),
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let turn = tail.turn().await;
        report(gate, turn.as_ref().err());
        if turn.is_ok() {
            pause = FIRST_PAUSE;
            continue;
        }
        // Whatever answers next may be another server, or an older copy of this one.
        tail.next_pulse = 0;
        tail.gauges.show(&Status::of(&engine));
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn report(gate: &Gate, why: Option<&Interruption>) {
    match why {
        None => gate.outage().works(Noticed::Following),
        // The log is there all the same.
        Some(Interruption::Undelivered(error @ RemoteError::Refused(_))) => {
            gate.outage().failed(Noticed::Delivering, error);
        }
        Some(Interruption::Remote(error) | Interruption::Undelivered(error)) => {
            gate.outage().failed(Noticed::Following, error);
        }
        Some(lost @ (Interruption::Gap | Interruption::Lost)) => gate.outage().lost(lost),
        // Told by the status; there is nothing wrong with the store.
        Some(Interruption::Unwritten) => {}
    }
}

struct Tail<'e> {
    engine: &'e Engine,
    gate: &'e Gate,
    gauges: Gauges,
    next_pulse: Nanos,
    ageing: Ageing,
}

impl Tail<'_> {
    /// One round: what is new in the log, and now and then whether it is still the same log.
    async fn turn(&mut self) -> Result<(), Interruption> {
        let engine = self.engine;
        if !engine.coherence.is_synced() {
            sync(engine, self.gate).await?;
        }
        let asked = engine.clock.now();
        if asked >= self.next_pulse {
            self.pulse().await?;
            self.gate.answered();
            self.next_pulse = asked.saturating_add(PULSE);
            let sampled = self.ageing.sample(asked, engine.coherence.applied());
            if sampled && !engine.read_only {
                self.prune(asked).await;
            }
            self.gauges.show(&Status::of(engine));
        }
        self.read(WAIT).await?;
        engine.coherence.contact(asked);
        deliver(engine, self.gate).await?;
        Ok(())
    }

    async fn read(&self, wait: Duration) -> Result<(), Interruption> {
        let position = self.engine.coherence.applied();
        let remote = self.gate.remote();
        for record in within(wait + PATIENCE, remote.tail(position, wait)).await? {
            if !self.engine.apply(&record) {
                self.engine.meters.log_gaps.add(1);
                return self.lost(Interruption::Gap);
            }
        }
        Ok(())
    }

    async fn pulse(&self) -> Result<(), Interruption> {
        let engine = self.engine;
        let before = engine.coherence.applied();
        let pulse = within(PATIENCE, self.gate.remote().pulse(before)).await?;
        engine
            .coherence
            .set_server_time(pulse.server_millis, engine.clock.now());
        let Some(position) = pulse.position else {
            return self.lost(Interruption::Lost);
        };
        engine.coherence.announce(position.number);
        if position.incarnation != engine.coherence.incarnation() {
            return self.lost(Interruption::Lost);
        }
        if position.number < before || !engine.coherence.recognises(pulse.stamp) {
            // An older copy took over under the same incarnation, and may have gone on since. What it
            // forgot nobody knows, so nothing of this incarnation counts any more.
            let author = engine.coherence.renewer();
            if !engine.read_only {
                within(PATIENCE, self.gate.remote().invalidate(&Scope::All, author)).await?;
            }
            return self.lost(Interruption::Lost);
        }
        if position.number > before {
            self.read(Duration::ZERO).await?;
            if engine.coherence.applied() < position.number {
                engine.meters.log_gaps.add(1);
                return self.lost(Interruption::Gap);
            }
        }
        Ok(())
    }

    /// Forgets markers that are older than the longest life of an entry, here and in L2, and tells other nodes of that life. What
    /// does not succeed now does in a minute.
    async fn prune(&mut self, now: Nanos) {
        let engine = self.engine;
        let life = engine.longest_life.load(Ordering::Relaxed);
        let position = self.ageing.outlived(now, life);
        if let Some(position) = position {
            engine.coherence.prune(position);
        }
        let (remote, own) = (self.gate.remote(), Duration::from_nanos(life));
        let mut cursor = 0;
        loop {
            let step = remote.prune(position.unwrap_or(0), own, cursor);
            let Ok(pruned) = within(PATIENCE, step).await else {
                return;
            };
            engine
                .longest_life
                .fetch_max(nanos(pruned.life), Ordering::Relaxed);
            cursor = pruned.cursor;
            if cursor == 0 || pruned.life > own {
                return;
            }
        }
    }

    fn lost(&self, why: Interruption) -> Result<(), Interruption> {
        self.engine.coherence.doubt();
        self.engine.clear_memory();
        Err(why)
    }
}

/// Loads position, incarnation and markers, without which nothing in L2 can be trusted.
async fn sync(engine: &Engine, gate: &Gate) -> Result<(), Interruption> {
    let doubts = engine.coherence.doubts();
    let asked = engine.clock.now();
    if engine.read_only
        && within(PATIENCE, gate.remote().pulse(0))
            .await?
            .position
            .is_none()
    {
        // A snapshot would begin a log.
        return Err(Interruption::Unwritten);
    }
    let snapshot = within(PATIENCE, gate.remote().snapshot()).await?;
    engine
        .coherence
        .set_server_time(snapshot.server_millis, engine.clock.now());
    engine.coherence.adopt(&snapshot, doubts);
    engine.memory.clear();
    engine.coherence.contact(asked);
    gate.answered();
    Ok(())
}

/// Hands everything that waits to L2, however often that takes.
pub(crate) async fn deliver_all(engine: &Engine, gate: &Gate) {
    while deliver(engine, gate).await.is_err() {
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

/// Hands the invalidations that waited to L2, oldest first, until one fails.
async fn deliver(engine: &Engine, gate: &Gate) -> Result<(), Interruption> {
    while let Some(pending) = engine.recovery.first() {
        let Pending { scope, after, .. } = &pending;
        if let Some(after) = after {
            let wanted = engine.coherence.demand(scope, after);
            let told = gate.remote().demand(&wanted, engine.coherence.author());
            let told = within(PATIENCE, told).await;
            if let Some(position) = told.map_err(Interruption::Undelivered)? {
                engine.acknowledge_demand(position);
            }
        }
        let position = within(
            PATIENCE,
            gate.remote().invalidate(scope, engine.coherence.author()),
        )
        .await
        .map_err(Interruption::Undelivered)?;
        engine.acknowledge(scope, position);
        engine.recovery.done(&pending);
        gate.outage().works(Noticed::Delivering);
    }
    Ok(())
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or(Err(RemoteError::Timeout))
}
