//! The end of the log. It is in memory only: who starts anew holds nothing that a record could drop.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::remote::{Position, Pulse, Record, RemoteError};

/// Records kept for nodes that are slow; who misses more starts over.
const KEPT: usize = 10_000;

#[derive(Debug)]
pub(super) struct Recent {
    state: Mutex<State>,
    news: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    log: VecDeque<Record>,
    /// Where the log stands, or why nobody knows.
    position: Result<Position, RemoteError>,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                log: VecDeque::new(),
                position: Err(RemoteError::Unavailable("it is not open yet".to_owned())),
            }),
            news: watch::Sender::new(()),
        }
    }

    /// Takes note of what was appended.
    pub(super) fn appended(&self, position: Position, records: Vec<Record>) {
        let mut state = self.state();
        if state.position.as_ref().map(|p| p.incarnation).ok() != Some(position.incarnation) {
            state.log.clear();
        }
        state.position = Ok(position);
        state.log.extend(records);
        let over = state.log.len().saturating_sub(KEPT);
        state.log.drain(..over);
        drop(state);
        self.news.send_replace(());
    }

    /// From now on nothing is known.
    pub(super) fn failed(&self, error: RemoteError) {
        let mut state = self.state();
        state.position = Err(error);
        state.log.clear();
    }

    pub(super) fn pulse(&self, number: u64, millis: u64) -> Result<Pulse, RemoteError> {
        let state = self.state();
        let position = state.position.clone()?;
        let mut log = state.log.iter();
        let stamp = log.find(|record| record.number == number);
        let stamp = stamp.map(|record| record.stamp);
        Ok(Pulse::new(Some(position), millis).stamped(stamp))
    }

    /// Records after a position; waits for the first one.
    pub(super) async fn after(
        &self,
        position: u64,
        wait: Duration,
        most: usize,
    ) -> Result<Vec<Record>, RemoteError> {
        let mut news = self.news.subscribe();
        let wait = tokio::time::sleep(wait);
        tokio::pin!(wait);
        loop {
            let there = self.there(position, most)?;
            if !there.is_empty() {
                return Ok(there);
            }
            tokio::select! {
                biased;
                changed = news.changed() => if changed.is_err() { return Ok(there) },
                () = &mut wait => return self.there(position, most),
            }
        }
    }

    fn there(&self, position: u64, most: usize) -> Result<Vec<Record>, RemoteError> {
        let state = self.state();
        if let Err(error) = &state.position {
            return Err(error.clone());
        }
        let first = state
            .log
            .partition_point(|record| record.number <= position);
        Ok(state.log.range(first..).take(most).cloned().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_too_slow_finds_a_gap_and_who_follows_none() {
        let recent = Recent::new();
        assert!(recent.after(0, Duration::ZERO, 1_000).await.is_err());
        let records = |numbers: std::ops::RangeInclusive<u64>| {
            let records = numbers.map(|n| Record::new(n, 1, None).stamped(n + 7));
            records.collect::<Vec<_>>()
        };
        let last = KEPT as u64 + 5;
        recent.appended(Position::new(3, last), records(1..=last));
        let found = recent.after(0, Duration::ZERO, 1_000).await.unwrap();
        assert_eq!((found.len(), found[0].number), (1_000, 6));
        let found = recent.after(last - 1, Duration::ZERO, 7).await.unwrap();
        assert_eq!(found, records(last..=last));
        assert_eq!(recent.pulse(last, 9).unwrap().stamp, Some(last + 7));
        recent.appended(Position::new(4, 1), records(1..=1));
        assert_eq!(recent.pulse(last, 9).unwrap().stamp, None, "another log");
        recent.failed(RemoteError::Disk("no space".to_owned()));
        assert!(recent.pulse(1, 9).is_err());
    }
}
