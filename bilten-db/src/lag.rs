//! How far a replica is behind, without comparing the clocks of two machines.
//!
//! The primary's position in its log is noted once per probe. A replica that replayed up to `p` has seen everything
//! that was written when the primary was last noted at or before `p`; the age of that note is its lag. An idle primary
//! writes nothing new, so its replicas are at the newest note and have no lag that anybody knows of; what came after the
//! note may be missing all the same, which only the time of the note tells.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::gtid::Gtids;

/// Ten minutes at one note per second.
const NOTES: usize = 600;
/// An older note says nothing about now.
pub(crate) const STALE: Duration = Duration::from_secs(3);

/// How far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
    /// Everything that was committed before this was there, as far as the numbers tell.
    pub(crate) as_of: Instant,
    /// The numbers are those of one history, so a promise may rest on them.
    pub(crate) is_proven: bool,
}

/// A place in the log of the primary.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// As a number that grows.
    pub(crate) position: u64,
    /// Which transactions it stands for, where they have names: those of several writers at once may come in any order, and
    /// the number alone would hide gaps.
    pub(crate) gtids: Option<Arc<Gtids>>,
}

impl Place {
    fn is_behind(&self, replica: &Self) -> bool {
        match (&self.gtids, &replica.gtids) {
            (Some(noted), Some(here)) => here.covers(noted),
            _ => self.position <= replica.position,
        }
    }
}

/// The primary's positions, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Trail(VecDeque<(Instant, Place)>);

impl Trail {
    /// `asked` is from before the question: the answer has all that was written by then.
    pub(crate) fn note(&mut self, asked: Instant, mut place: Place) {
        // While nothing is written one list of transactions stands in all the notes: it may be long.
        if let Some((_, before)) = self.0.back()
            && before.position == place.position
            && before.gtids == place.gtids
        {
            place.gtids.clone_from(&before.gtids);
        }
        if self.0.len() == NOTES {
            self.0.pop_front();
        }
        self.0.push_back((asked, place));
    }

    /// Forgets everything: positions of two timelines do not compare.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The lag of a replica that replayed up to `replayed`; `None` when it is not known, which is never the same as none.
    pub(crate) fn lag(&self, now: Instant, replayed: &Place) -> Option<Lag> {
        let (at, newest) = self.0.back()?;
        if now.saturating_duration_since(*at) > STALE {
            return None;
        }
        if newest.is_behind(replayed) {
            return Some(Lag {
                bytes: 0,
                time: Duration::ZERO,
                as_of: *at,
                is_proven: true,
            });
        }
        let behind = self.0.partition_point(|(_, note)| note.is_behind(replayed));
        // Before the oldest note the lag is at least that note's age, and may be anything.
        let &(as_of, _) = self.0.get(behind.checked_sub(1)?)?;
        Some(Lag {
            // Something is missing, also where what it has beside that makes up for the number.
            bytes: newest.position.saturating_sub(replayed.position).max(1),
            time: now.saturating_duration_since(as_of),
            as_of,
            is_proven: true,
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

    /// Nothing is known of it.
    pub(crate) fn forget(&self) {
        self.lagging.store(false, Ordering::Relaxed);
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

/// Why a replica that lags is out of rotation.
pub(crate) fn why_it_lags(lag: Option<Lag>, limit: Duration) -> String {
    match lag {
        None => format!(
            "how far it is behind the primary is not known, which counts as more than the {limit:?} of max_lag"
        ),
        Some(lag) if lag.time > limit => format!(
            "is {:.1} s behind the primary ({} bytes or transactions), and max_lag is {limit:?}",
            lag.time.as_secs_f64(),
            lag.bytes
        ),
        Some(_) => format!(
            "was more than the {limit:?} of max_lag behind the primary; {GOOD_IN_A_ROW} good probes in a row bring it back"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(start: Instant, positions: &[u64]) -> Trail {
        let mut trail = Trail::default();
        for (second, position) in (0..).zip(positions) {
            trail.note(start + Duration::from_secs(second), place(*position));
        }
        trail
    }

    fn place(position: u64) -> Place {
        let gtids = None;
        Place { position, gtids }
    }

    fn lag(positions: &[u64], now: u64, replayed: u64) -> Option<(u64, u64)> {
        let start = Instant::now();
        let now = start + Duration::from_secs(now);
        let lag = trail(start, positions).lag(now, &place(replayed))?;
        Some((lag.bytes, lag.time.as_secs()))
    }

    #[test]
    fn what_came_after_the_newest_note_may_be_missing() {
        let start = Instant::now();
        let trail = trail(start, &[100, 200]);
        let second = |n| start + Duration::from_secs(n);
        for (replayed, as_of) in [(200, 1), (999, 1), (150, 0)] {
            let lag = trail.lag(second(3), &place(replayed)).unwrap();
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
        assert_eq!(trail.lag(start, &place(100)), None);
    }

    #[test]
    fn an_idle_primary_keeps_one_list_of_its_transactions() {
        let told = || Place {
            position: 5,
            gtids: Some(Arc::new(Gtids::of_mariadb(0, "0-1-5").unwrap())),
        };
        let mut trail = Trail::default();
        let start = Instant::now();
        (0..9).for_each(|_| trail.note(start, told()));
        let first = trail.0[0].1.gtids.as_ref().unwrap();
        assert_eq!(Arc::strong_count(first), 9);
    }

    #[test]
    fn a_gap_behind_a_number_that_is_high_enough_is_lag() {
        let at = |position: &str| {
            let gtids = Gtids::of_mariadb(0, position).unwrap();
            Place {
                position: gtids.share_of(&gtids),
                gtids: Some(Arc::new(gtids)),
            }
        };
        let start = Instant::now();
        let mut trail = Trail::default();
        trail.note(start, at("0-1-98,1-1-5"));
        trail.note(start + Duration::from_secs(1), at("0-1-100,1-1-5"));
        let now = start + Duration::from_secs(2);
        let lag = |position| trail.lag(now, &at(position)).map(|lag| lag.time.as_secs());
        assert_eq!(lag("0-1-98,1-1-7"), Some(2), "two are missing");
        assert_eq!(lag("0-1-100,1-1-7"), Some(0));
    }

    #[test]
    fn a_lag_that_swings_around_the_limit_changes_the_state_once() {
        let limit = Duration::from_secs(1);
        let seconds = |seconds| Lag {
            time: Duration::from_secs(seconds),
            bytes: 1,
            as_of: Instant::now(),
            is_proven: true,
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

    #[test]
    fn a_replica_that_lags_says_why() {
        let behind = |millis| Lag {
            bytes: 7,
            time: Duration::from_millis(millis),
            as_of: Instant::now(),
            is_proven: true,
        };
        let limit = Duration::from_secs(1);
        let table = [
            (None, "is not known"),
            (
                Some(behind(3_200)),
                "is 3.2 s behind the primary (7 bytes or transactions), and max_lag is 1s",
            ),
            (Some(behind(900)), "3 good probes in a row"),
        ];
        for (lag, expected) in table {
            let told = why_it_lags(lag, limit);
            assert!(told.contains(expected), "{told}");
        }
    }
}
