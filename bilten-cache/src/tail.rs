//! The task that follows the log.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::ageing::Ageing;
use crate::clock::{Nanos, nanos};
use crate::engine::{Engine, Followed};
use crate::gauges::Gauges;
use crate::recovery::Pending;
use crate::remote::{Gate, Noticed, PAGE, Position, RemoteError, Scope, panicked, whole};
use crate::status::Status;

/// How long one read of the log waits for news, at most and at least.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// What a call that should answer at once may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a snapshot may take: tens of thousands of markers, page by page. Each page must come in time.
const LONGEST_SNAPSHOT: Duration = Duration::from_secs(20);
/// How often the log's position, its incarnation and the store's clock are sampled.
const PULSE: Nanos = 1_000_000_000;
/// Invalidations that waited are handed over so many at once, and no longer than this before the log is read again: it must not be
/// silence that makes a process distrust itself.
const AT_ONCE: usize = 64;
const DELIVERS: Duration = Duration::from_millis(200);
/// Turns in a row without an answer until calls are turned away: one may be a connection that just broke.
const AWAY_AFTER: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Told once; loads ask their source for its newest state until it is over.
const FOREIGN_DEMANDS: &str =
    "WRONGTYPE another program wrote where is kept what loads must reflect";
/// Told once; the record is taken out.
const FOREIGN_RECORD: &str =
    "WRONGTYPE another program wrote a record into the log, far ahead of ours";

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
    #[error("another program wrote a record into the log, far ahead of ours")]
    Foreign,
}

/// Reads the log's state once, so that the first reads can use L2, and goes on in a task.
pub(crate) async fn start(engine: &Arc<Engine>) -> JoinHandle<()> {
    if let Some(gate) = &engine.gate {
        let synced = sync(engine, gate).await;
        report(gate, synced.as_ref().err());
    }
    // Here and not in the task: a recorder may be that of this thread only.
    let gauges = Gauges::new(engine);
    tokio::spawn(follow(Arc::clone(engine), gauges))
}

async fn follow(engine: Arc<Engine>, gauges: Gauges) {
    let Some(gate) = &engine.gate else { return };
    let mut tail = Tail {
        engine: &engine,
        gate,
        gauges,
        answered: false,
        next_pulse: 0,
        next_try: None,
        try_pause: FIRST_PAUSE,
        foreign: None,
        ageing: Ageing::default(),
        wait: wait_within(engine.coherence.isolated_after()),
    };
    let (mut pause, mut unanswered) = (FIRST_PAUSE, 0_u32);
    loop {
        // This task must not end while the cache lives.
        let turn = AssertUnwindSafe(tail.turn()).catch_unwind().await;
        let turn = turn.unwrap_or_else(|panic| {
            engine.coherence.doubt();
            Err(panicked(&*panic).into())
        });
        report(gate, turn.as_ref().err());
        if turn.is_ok() {
            (pause, unanswered) = (FIRST_PAUSE, 0);
            if gate.is_suspected() {
                // The breaker has it from here.
                gate.probe().await;
            }
            continue;
        }
        let asked_in_vain = matches!(&turn, Err(Interruption::Remote(_))) && !tail.answered;
        unanswered = if asked_in_vain {
            unanswered.saturating_add(1)
        } else {
            0
        };
        if unanswered >= AWAY_AFTER && !gate.probe().await {
            engine.coherence.question();
        }
        // Whatever answers next may be another server, or an older copy of this one.
        tail.next_pulse = 0;
        tail.gauges.show(&Status::of(&engine));
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// While nothing happens, what is known is as old as two reads when the second one ends. With the way to the server and a busy
/// machine on top of it that must stay below what a process trusts itself for, or it would doubt itself between two reads again and
/// again.
fn wait_within(isolated_after: Nanos) -> Duration {
    (Duration::from_nanos(isolated_after) / 4).clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

fn report(gate: &Gate, why: Option<&Interruption>) {
    match why {
        None => gate.outage().works(Noticed::Following),
        Some(Interruption::Remote(error) | Interruption::Undelivered(error)) => {
            gate.outage().failed(Noticed::Following, error);
        }
        Some(lost @ (Interruption::Gap | Interruption::Lost)) => gate.outage().lost(lost),
        // Told by the status; there is nothing wrong with the store.
        Some(Interruption::Unwritten) => {}
        // The log is there all the same.
        Some(Interruption::Foreign) => gate.outage().works(Noticed::Following),
    }
}

struct Tail<'e> {
    engine: &'e Engine,
    gate: &'e Gate,
    gauges: Gauges,
    /// Whether the store answered in this turn, on the way that calls take too.
    answered: bool,
    next_pulse: Nanos,
    /// When what was refused is tried again, and how long after that.
    next_try: Option<Instant>,
    try_pause: Duration,
    /// The record of another program that was told of last.
    foreign: Option<u64>,
    ageing: Ageing,
    wait: Duration,
}

impl Tail<'_> {
    /// One round: what is new in the log, and now and then whether it is still the same log.
    async fn turn(&mut self) -> Result<(), Interruption> {
        let engine = self.engine;
        self.answered = false;
        if !engine.coherence.has_snapshot() {
            let before = engine.coherence.incarnation();
            sync(engine, self.gate).await?;
            self.answered = true;
            if engine.coherence.incarnation() != before {
                // Where another log stood says nothing about this one.
                self.ageing = Ageing::default();
            }
        }
        let asked = engine.clock.now();
        if asked >= self.next_pulse {
            self.pulse().await?;
            engine.coherence.confirm();
            // What was new then has been read, so this much is known also where reads that wait get no answer.
            engine.coherence.contact(asked);
            self.answered = true;
            self.gate.answered();
            self.next_pulse = asked.saturating_add(PULSE);
            let sampled = self.ageing.sample(asked, engine.coherence.applied());
            if sampled && !engine.read_only {
                self.prune(asked).await;
            }
            self.gauges.show(&Status::of(engine));
        }
        let asked = engine.clock.now();
        let may_try = self.next_try.is_none_or(|next| Instant::now() >= next);
        let waits = engine.recovery.has_news() || may_try && engine.recovery.len() > 0;
        // Not without any wait: that takes the way of the calls, and would say nothing of the log's own.
        let read = self.read(if waits { SHORTEST_WAIT } else { self.wait });
        if read.await? < usize::from(PAGE) {
            // Else there may be more, of which nothing is known yet.
            engine.coherence.contact(asked);
        }
        if waits {
            self.deliver().await?;
        }
        engine
            .coherence
            .forget_waiting(|| engine.recovery.len() > 0);
        Ok(())
    }

    /// What is refused is tried again after a while. That must not keep this process from hearing what others say.
    async fn deliver(&mut self) -> Result<(), Interruption> {
        let Some(refusal) = deliver(self.engine, self.gate, DELIVERS).await? else {
            (self.next_try, self.try_pause) = (None, FIRST_PAUSE);
            return Ok(());
        };
        self.gate.outage().failed(Noticed::Delivering, &refusal);
        let pause = self.try_pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next_try = Some(Instant::now() + pause);
        self.try_pause = (self.try_pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Reads on in the log, as far as one read brings it. How many records there were.
    async fn read(&mut self, wait: Duration) -> Result<usize, Interruption> {
        let position = self.engine.coherence.applied();
        let remote = self.gate.remote();
        let records = within(wait + PATIENCE, || remote.tail(position, wait)).await?;
        for record in &records {
            match self.engine.apply(record) {
                Followed::Next => {}
                Followed::Gap => return Err(self.beyond(record.number).await?),
                Followed::OtherLog => {
                    return Err(self.older_copy(self.engine.coherence.incarnation()).await?);
                }
            }
        }
        Ok(records.len())
    }

    async fn pulse(&mut self) -> Result<(), Interruption> {
        let engine = self.engine;
        // Also what was acknowledged here and has not come with the log yet.
        let (before, seen) = (engine.coherence.applied(), engine.coherence.seen());
        let pulse = within(PATIENCE, || self.gate.remote().pulse(before)).await?;
        engine
            .coherence
            .set_server_time(pulse.server_millis, engine.clock.now());
        let Some(position) = pulse.position else {
            return Err(self.lost(Interruption::Lost));
        };
        engine.coherence.announce(position.number);
        if position.incarnation != engine.coherence.incarnation() {
            return Err(self.lost(Interruption::Lost));
        }
        if engine.coherence.is_older(position, seen, pulse.stamp) {
            return Err(self.older_copy(position.incarnation).await?);
        }
        self.catch_up(position.number).await
    }

    /// Reads until the record of this number, which is known to be there.
    async fn catch_up(&mut self, number: u64) -> Result<(), Interruption> {
        let mut before = self.engine.coherence.applied();
        while before < number {
            self.read(Duration::ZERO).await?;
            let after = self.engine.coherence.applied();
            if after == before {
                return Err(self.gap());
            }
            before = after;
        }
        Ok(())
    }

    /// Forgets markers that are older than the longest life of an entry, here and in L2, and tells other nodes of that life. What
    /// does not succeed now does in a minute.
    async fn prune(&mut self, now: Nanos) {
        let engine = self.engine;
        let life = engine.longest_life.load(Ordering::Relaxed);
        let applied = engine.coherence.applied();
        // Above it is what an older copy has forgotten.
        let position = self.ageing.outlived(now, life).filter(|p| *p <= applied);
        if let Some(position) = position {
            engine.coherence.prune(position);
        }
        let (remote, own) = (self.gate.remote(), Duration::from_nanos(life));
        let mut cursor = 0;
        loop {
            let step = || remote.prune(position.unwrap_or(0), own, cursor);
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

    /// An older copy took over under the same incarnation, and may have gone on since. What it says does not count, also if it takes no
    /// record yet.
    async fn older_copy(&self, incarnation: u64) -> Result<Interruption, RemoteError> {
        let lost = self.lost(Interruption::Lost);
        self.engine.coherence.owe(incarnation);
        renew(self.engine, self.gate).await?;
        Ok(lost)
    }

    /// Records before this one are missing. If the log itself has counted no further than they were read, it is another program's, and stands
    /// in the way of all of ours: the next one of ours takes it out.
    async fn beyond(&mut self, found: u64) -> Result<Interruption, Interruption> {
        let (engine, coherence) = (self.engine, &self.engine.coherence);
        let applied = coherence.applied();
        let read = Position::new(coherence.incarnation(), applied);
        let Ok(pulse) = within(PATIENCE, || self.gate.remote().pulse(applied)).await else {
            return Ok(self.gap());
        };
        if pulse.position != Some(read) || !coherence.recognises(pulse.stamp) {
            return Ok(self.gap());
        }
        if self.foreign.replace(found) != Some(found) {
            engine.meters.log_unreadable.add(1);
            self.gate
                .refused(&RemoteError::Refused(FOREIGN_RECORD.to_owned()));
        }
        if !engine.read_only {
            // Of no region.
            let nothing = Scope::Key("-".into());
            let author = coherence.author();
            let said = within(PATIENCE, || self.gate.remote().invalidate(&nothing, author));
            engine.acknowledge(&nothing, said.await?);
        }
        Ok(Interruption::Foreign)
    }

    fn gap(&self) -> Interruption {
        self.engine.meters.log_gaps.add(1);
        self.lost(Interruption::Gap)
    }

    fn lost(&self, why: Interruption) -> Interruption {
        self.engine.coherence.doubt();
        self.engine.clear_memory();
        why
    }
}

/// Begins a new incarnation where that is owed: what an older copy forgot nobody knows, so nothing of its own counts any more.
async fn renew(engine: &Engine, gate: &Gate) -> Result<(), RemoteError> {
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

/// Loads position, incarnation and markers, without which nothing in L2 can be trusted.
async fn sync(engine: &Engine, gate: &Gate) -> Result<(), Interruption> {
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

/// Hands everything that waits to L2, however often that takes.
pub(crate) async fn deliver_all(engine: &Engine, gate: &Gate) {
    while !matches!(deliver(engine, gate, Duration::MAX).await, Ok(None)) {
        tokio::time::sleep(FIRST_PAUSE).await;
    }
}

/// Hands the invalidations that waited to L2, the oldest first, until one fails or the time is over. The first one alone, in case it is
/// refused, then several at once: which of them comes first makes no difference. So those that were refused wait behind all others
/// from then on, and while nothing else waits one of them is tried at a time. With the last refusal.
async fn deliver(
    engine: &Engine,
    gate: &Gate,
    lasts: Duration,
) -> Result<Option<RemoteError>, Interruption> {
    let (begun, mut count) = (Instant::now(), 1);
    let (mut delivered, mut refusal) = (false, None);
    loop {
        let batch = engine.recovery.oldest(count);
        if batch.is_empty() {
            refusal = None;
            break;
        }
        let calls = batch.iter().map(|pending| hand_over(engine, gate, pending));
        let handed = join_all(calls).await;
        let some = handed.iter().any(Result::is_ok);
        for (pending, handed) in batch.iter().zip(handed) {
            match handed {
                Ok(()) => {}
                Err(error @ RemoteError::Refused(_)) => {
                    engine.recovery.postpone(pending);
                    refusal = Some(error);
                }
                Err(error) => return Err(Interruption::Undelivered(error)),
            }
        }
        delivered |= some;
        if !some || begun.elapsed() >= lasts {
            break;
        }
        count = AT_ONCE;
    }
    if refusal.is_none() && delivered {
        gate.outage().works(Noticed::Delivering);
    }
    Ok(refusal)
}

async fn hand_over(engine: &Engine, gate: &Gate, pending: &Pending) -> Result<(), RemoteError> {
    let Pending { scope, after, .. } = pending;
    if let Some(after) = after {
        let wanted = engine.coherence.demand(scope, after);
        let author = engine.coherence.author();
        let told = || gate.remote().demand(&wanted, author);
        if let Some(position) = within(PATIENCE, told).await? {
            engine.acknowledge_demand(position);
        }
    }
    let author = engine.coherence.author();
    let position = within(PATIENCE, || gate.remote().invalidate(scope, author)).await?;
    engine.acknowledge(scope, position);
    engine.recovery.done(pending);
    Ok(())
}

async fn within<T, Reply>(limit: Duration, call: impl FnOnce() -> Reply) -> Result<T, RemoteError>
where
    Reply: Future<Output = Result<T, RemoteError>>,
{
    // A store of somebody's own may panic before it has a future to give.
    tokio::time::timeout(limit, whole(async { call().await }))
        .await
        .unwrap_or(Err(RemoteError::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_reads_in_a_row_take_half_of_what_a_process_trusts_itself_for() {
        for millis in [40, 1_000, 2_000, 5_000, 3_600_000] {
            let trusted = Duration::from_millis(millis);
            assert!(
                2 * wait_within(nanos(trusted)) <= trusted / 2,
                "{trusted:?}"
            );
        }
        assert_eq!(wait_within(0), SHORTEST_WAIT);
        assert_eq!(wait_within(Nanos::MAX), LONGEST_WAIT);
    }
}
