//! How far a replica is behind, without comparing the clocks of two machines.
//!
//! The primary's position in its log is noted once per probe. A replica that replayed up to `p` has seen everything
//! that was written when the primary was last noted at or before `p`; the age of that note is its lag. An idle primary
//! writes nothing new, so its replicas are at the newest note and have no lag that anybody knows of; what came after the
//! note may be missing all the same, which only the time of the note tells.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Ten minutes at one note per second.
const NOTES: usize = 600;
/// An older note says nothing about now.
pub(crate) const STALE: Duration = Duration::from_secs(3);

/// How far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
    /// Everything that was committed before this was there: what a promise may rest on.
    pub(crate) as_of: Instant,
}

/// The primary's positions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Trail(VecDeque<(Instant, u64)>);

impl Trail {
    /// `asked` is from before the question: the answer has all that was written by then.
    pub(crate) fn note(&mut self, asked: Instant, position: u64) {
        if self.0.len() == NOTES {
            self.0.pop_front();
        }
        self.0.push_back((asked, position));
    }

    /// Forgets everything: positions of two timelines do not compare.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The lag of a replica that replayed up to `replayed`; `None` when it is not known, which is never the same as none.
    pub(crate) fn lag(&self, now: Instant, replayed: u64) -> Option<Lag> {
        let (at, newest) = *self.0.back()?;
        if now.saturating_duration_since(at) > STALE {
            return None;
        }
        if replayed >= newest {
            return Some(Lag {
                bytes: 0,
                time: Duration::ZERO,
                as_of: at,
            });
        }
        let behind = self
            .0
            .partition_point(|(_, position)| *position <= replayed);
        // Before the oldest note the lag is at least that note's age, and may be anything.
        let &(as_of, _) = self.0.get(behind.checked_sub(1)?)?;
        Some(Lag {
            bytes: newest - replayed,
            time: now.saturating_duration_since(as_of),
            as_of,
        })
    }
}

/// So many measurements in a row must show little lag before a replica that lagged serves reads again.
const GOOD_IN_A_ROW: u32 = 3;

/// Whether a replica lags too much: it leaves at the first sign of it and comes back after several good ones, so that it
/// does not flap.
#[derive(Debug, Default)]
pub(crate) struct Hysteresis {
    lagging: AtomicBool,
    good_in_a_row: AtomicU32,
}

impl Hysteresis {
    pub(crate) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Relaxed)
    }

    /// Takes in a measurement; whether the replica lags now, if that is new. Not knowing the lag counts as too much.
    pub(crate) fn judge(&self, lag: Option<Lag>, limit: Duration) -> Option<bool> {
        if lag.is_none_or(|lag| lag.time > limit) {
            self.good_in_a_row.store(0, Ordering::Relaxed);
            return (!self.lagging.swap(true, Ordering::Relaxed)).then_some(true);
        }
        let good = self.good_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
        let is_back = good >= GOOD_IN_A_ROW && self.lagging.swap(false, Ordering::Relaxed);
        is_back.then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(start: Instant, positions: &[u64]) -> Trail {
        let mut trail = Trail::default();
        for (second, position) in (0..).zip(positions) {
            trail.note(start + Duration::from_secs(second), *position);
        }
        trail
    }

    fn lag(positions: &[u64], now: u64, replayed: u64) -> Option<(u64, u64)> {
        let start = Instant::now();
        let now = start + Duration::from_secs(now);
        let lag = trail(start, positions).lag(now, replayed)?;
        Some((lag.bytes, lag.time.as_secs()))
    }

    #[test]
    fn what_came_after_the_newest_note_may_be_missing() {
        let start = Instant::now();
        let trail = trail(start, &[100, 200]);
        let second = |n| start + Duration::from_secs(n);
        for (replayed, as_of) in [(200, 1), (999, 1), (150, 0)] {
            let lag = trail.lag(second(3), replayed).unwrap();
            assert_eq!(lag.as_of, second(as_of), "{replayed}");
        }
    }

    #[test]
    fn the_age_of_what_was_replayed_is_the_lag() {
        let positions = [100, 200, 200, 300];
        let table = [
            (3, 300, Some((0, 0))),
            (3, 999, Some((0, 0))),
            (3, 250, Some((50, 1))),
            (3, 200, Some((100, 1))),
            (3, 199, Some((101, 3))),
            (5, 100, Some((200, 5))),
            (3, 99, None),
            (7, 300, None),
        ];
        for (now, replayed, expected) in table {
            assert_eq!(
                lag(&positions, now, replayed),
                expected,
                "{replayed} at {now} s"
            );
        }
    }

    #[test]
    fn an_idle_primary_shows_no_lag_however_long() {
        assert_eq!(lag(&[100; 3000], 2999, 100), Some((0, 0)));
    }

    #[test]
    fn nothing_known_is_not_no_lag() {
        assert_eq!(lag(&[], 0, u64::MAX), None);
        let start = Instant::now();
        let mut trail = trail(start, &[100]);
        trail.clear();
        assert_eq!(trail.lag(start, 100), None);
    }

    #[test]
    fn a_lag_that_swings_around_the_limit_changes_the_state_once() {
        let limit = Duration::from_secs(1);
        let seconds = |seconds| Lag {
            time: Duration::from_secs(seconds),
            bytes: 1,
            as_of: Instant::now(),
        };
        let replica = Hysteresis::default();
        assert_eq!(replica.judge(Some(seconds(1)), limit), None);
        // A minute of one bad measurement after two good ones.
        let changes: Vec<_> = (0..60)
            .filter_map(|n| replica.judge(Some(seconds(u64::from(n % 3 == 0) * 2)), limit))
            .collect();
        assert_eq!(changes, [true]);
        let still = [Some(seconds(0)); 4].map(|good| replica.judge(good, limit));
        assert_eq!(still, [Some(false), None, None, None]);
        assert_eq!(
            replica.judge(None, limit),
            Some(true),
            "unknown is too much"
        );
    }
}
