//! The task that follows the log.

mod delivery;
mod interruption;
mod patience;
mod syncing;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use self::delivery::deliver_all;
use self::delivery::{DELIVERS, deliver};
use self::interruption::Interruption;
use self::patience::{PATIENCE, within};
use self::syncing::{load, look, renew, sync};
use crate::ageing::Ageing;
use crate::clock::{Nanos, nanos};
use crate::engine::{Engine, Followed};
use crate::gauges::Gauges;
use crate::remote::{Gate, Noticed, PAGE, Portion, Position, RemoteError, Scope, panicked};
use crate::status::Status;

/// How long one read of the log waits for news, at most and at least.
const LONGEST_WAIT: Duration = Duration::from_millis(500);
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// How long missed records are fetched before what waits is delivered and the log is asked again where it stands.
const CATCHES_UP: Duration = Duration::from_secs(1);
/// How often the log's position, its incarnation and the store's clock are sampled.
const PULSE: Nanos = 1_000_000_000;
/// Turns in a row without an answer until calls are turned away: one may be a connection that just broke.
const AWAY_AFTER: u32 = 2;
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

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
        portion: Portion::of(PAGE),
        way: Duration::ZERO,
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

/// How long a page took that came after so long, at most: it may have been waited for, or not.
fn brought(took: Duration, wait: Duration) -> Duration {
    match took > wait {
        true => took - wait,
        false => took,
    }
}

/// How long a page that did not come may have been on its way: nothing is while nothing is there.
fn lost(took: Duration, wait: Duration) -> Duration {
    took.saturating_sub(wait)
}

/// Told once; the record is taken out.
const FOREIGN_RECORD: &str =
    "WRONGTYPE another program wrote a record into the log, far ahead of ours";

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
    /// Records that are asked for at once.
    portion: Portion,
    /// What the smallest answer took last.
    way: Duration,
    wait: Duration,
}

impl Tail<'_> {
    /// One round: what is new in the log, and now and then whether it is still the same log.
    async fn turn(&mut self) -> Result<(), Interruption> {
        let engine = self.engine;
        self.answered = false;
        if !engine.coherence.has_snapshot() {
            let before = engine.coherence.incarnation();
            self.sync().await?;
            self.answered = true;
            if engine.coherence.incarnation() != before {
                // Where another log stood says nothing about this one.
                self.ageing = Ageing::default();
            }
            if !engine.coherence.has_snapshot() {
                // Something came meanwhile that it does not know. Nothing is to be waited for before the next one.
                return Ok(());
            }
        }
        let asked = engine.clock.now();
        if asked >= self.next_pulse {
            let is_up_to_date = self.pulse().await?;
            self.answered = true;
            self.gate.answered();
            if is_up_to_date {
                engine.coherence.confirm();
                // What was new then has been read, so this much is known also where reads that wait get no answer.
                engine.coherence.contact(asked);
                self.next_pulse = asked.saturating_add(PULSE);
                self.keep_small(asked).await;
            }
            self.gauges.show(&Status::of(engine));
        }
        let asked = engine.clock.now();
        let waits = self.has_to_deliver();
        // Not beyond the next look at the log, which alone tells that it is gone. And not without any wait: that takes the way of the calls,
        // and would say nothing of the log's own.
        let left = Duration::from_nanos(self.next_pulse.saturating_sub(asked));
        let wait = if waits {
            SHORTEST_WAIT
        } else {
            self.wait.min(left)
        };
        let read = self.read(wait.max(SHORTEST_WAIT));
        if read.await? {
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

    /// Whether something waits that may be delivered now.
    fn has_to_deliver(&self) -> bool {
        let may_try = self.next_try.is_none_or(|next| Instant::now() >= next);
        let recovery = &self.engine.recovery;
        recovery.has_news() || may_try && recovery.len() > 0
    }

    /// Behind a slow link the markers may take many seconds. What this process has removed meanwhile others serve until they hear of it, and for
    /// that it needs no markers. In a log that is not known yet it has no place: there it comes after them.
    async fn sync(&mut self) -> Result<(), Interruption> {
        let looked = look(self.engine, self.gate).await?;
        let (is_followed, doubts) = (looked.is_followed, looked.doubts);
        let load = load(self.engine, self.gate, looked);
        if !is_followed {
            return load.await;
        }
        tokio::select! {
            biased;
            synced = load => synced,
            never = self.keep_delivering(doubts) => match never {},
        }
    }

    /// As long as there are so many doubts: another one, and it is not that log any more.
    async fn keep_delivering(&mut self, doubts: u64) -> Infallible {
        while self.engine.coherence.doubts() == doubts {
            // What does not succeed now is told when the log is followed.
            let failed = self.has_to_deliver() && self.deliver().await.is_err();
            let pause = if failed { LONGEST_PAUSE } else { SHORTEST_WAIT };
            tokio::time::sleep(pause).await;
        }
        std::future::pending().await
    }

    /// What is refused is tried again after a while. That must not keep this process from hearing what others say.
    async fn deliver(&mut self) -> Result<(), Interruption> {
        let (begun, coherence) = (Instant::now(), &self.engine.coherence);
        let doubts = coherence.doubts();
        // What finds another log than the one that is followed empties memory, once and not for each.
        let goes_on = || begun.elapsed() < DELIVERS && coherence.doubts() == doubts;
        let Some(refusal) = deliver(self.engine, self.gate, goes_on).await? else {
            (self.next_try, self.try_pause) = (None, FIRST_PAUSE);
            return Ok(());
        };
        self.gate.outage().failed(Noticed::Delivering, &refusal);
        let pause = self.try_pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.next_try = Some(Instant::now() + pause);
        self.try_pause = (self.try_pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Reads on in the log, as far as one read brings it. Whether that was all; else there may be more, of which nothing is known yet.
    async fn read(&mut self, wait: Duration) -> Result<bool, Interruption> {
        let (position, most) = (self.engine.coherence.applied(), self.portion.asked());
        let is_at_end = self.engine.coherence.lag() == 0;
        let (remote, begun) = (self.gate.remote(), Instant::now());
        let records = within(wait + PATIENCE, || remote.tail(position, wait, most)).await;
        let (took, limit) = (begun.elapsed(), PATIENCE.min(self.gate.budget()));
        // Where nothing more was known of, it may have waited for the first one.
        let wait = if is_at_end { wait } else { Duration::ZERO };
        let lost = |_: &RemoteError| self.portion.failed(lost(took, wait), limit);
        let records = records.inspect_err(lost)?;
        let is_all = records.len() < usize::from(most);
        if !is_all {
            self.portion.came(brought(took, wait), limit, self.way);
        }
        for record in &records {
            match self.engine.apply(record) {
                Followed::Next => {}
                Followed::Gap => return Err(self.beyond(record.number).await?),
                Followed::OtherLog => {
                    return Err(self.older_copy(self.engine.coherence.incarnation()).await?);
                }
            }
        }
        Ok(is_all)
    }

    /// Where the log stands, and what is new until there. Whether all of it has been read.
    async fn pulse(&mut self) -> Result<bool, Interruption> {
        let engine = self.engine;
        // Also what was acknowledged here and has not come with the log yet.
        let (before, seen) = (engine.coherence.applied(), engine.coherence.seen());
        let begun = Instant::now();
        let pulse = within(PATIENCE, || self.gate.remote().pulse(before)).await?;
        self.way = begun.elapsed();
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

    /// Reads until the record of this number, which is known to be there, or for some time. Whether it got there.
    async fn catch_up(&mut self, number: u64) -> Result<bool, Interruption> {
        let begun = Instant::now();
        let mut before = self.engine.coherence.applied();
        while before < number {
            if begun.elapsed() >= CATCHES_UP {
                return Ok(false);
            }
            self.read(Duration::ZERO).await?;
            let after = self.engine.coherence.applied();
            if after == before {
                return Err(self.gap());
            }
            before = after;
        }
        Ok(true)
    }

    /// Once in a while.
    async fn keep_small(&mut self, now: Nanos) {
        let sampled = self.ageing.sample(now, self.engine.coherence.applied());
        if sampled && !self.engine.read_only {
            self.prune(now).await;
        }
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

    #[test]
    fn a_page_that_came_at_once_was_not_waited_for() {
        let millis = Duration::from_millis;
        assert_eq!(brought(millis(240), millis(500)), millis(240));
        assert_eq!(brought(millis(740), millis(500)), millis(240));
        assert_eq!(brought(millis(240), Duration::ZERO), millis(240));
    }

    #[test]
    fn a_wait_that_was_cut_short_says_nothing_about_the_size_of_a_page() {
        let (portion, limit) = (Portion::of(PAGE), Duration::from_millis(250));
        for millis in [130, 300, 500] {
            portion.failed(lost(Duration::from_millis(millis), LONGEST_WAIT), limit);
        }
        assert_eq!(portion.asked(), PAGE);
        portion.failed(lost(limit, Duration::ZERO), limit);
        assert!(portion.asked() < PAGE);
    }
}
