//! What is new since somebody last looked: the live page asks once a second and keeps the history itself.

use std::sync::atomic::Ordering;

use super::histogram::{BUCKETS, Counts, Histogram};
use super::recent::Recent;

/// What one reader saw of one name when it last looked.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The turns that the two copies below are of.
    turns: [u64; 2],
    before: [Box<[u32]>; 2],
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self {
            turns: [0; 2],
            before: [Histogram::nothing(), Histogram::nothing()],
        }
    }
}

impl Recent {
    /// Adds the values recorded since `seen` was last brought up to date; while a turn begins nothing, and the next
    /// look has them.
    pub(crate) fn add_new_to(&self, now: u64, seen: &mut Seen, counts: &mut Counts) {
        self.at(now);
        let Some(turn) = self.settled() else {
            return;
        };
        let copies = self.histograms.each_ref().map(Histogram::copy);
        if self.is_still(turn) {
            seen.add_new(turn, &copies, counts);
        }
    }
}

impl Seen {
    fn add_new(&mut self, turn: u64, copies: &[Numbers; 2], counts: &mut Counts) {
        for (parity, copy) in (0..).zip(copies) {
            // The one of this parity holds the current turn's values, the other those of the turn before.
            let holds = if turn % 2 == parity {
                turn
            } else {
                turn.saturating_sub(1)
            };
            let at = usize::from(parity == 1);
            if self.turns[at] != holds {
                self.turns[at] = holds;
                self.before[at].fill(0);
            }
            add_new(copy, &mut self.before[at], counts);
        }
    }
}

/// The numbers of a histogram at one moment.
type Numbers = [u32; BUCKETS];

/// Adds what came since `before` to `counts`, and brings `before` up to date.
fn add_new(copy: &Numbers, before: &mut [u32], counts: &mut Counts) {
    for ((sum, now), before) in counts.0.iter_mut().zip(copy).zip(before) {
        *sum += u64::from(now.saturating_sub(*before));
        *before = *now;
    }
}

impl Histogram {
    /// What a reader has seen that has not looked yet.
    pub(crate) fn nothing() -> Box<[u32]> {
        vec![0; Counts::new().0.len()].into()
    }

    /// Adds what came since `before` to `counts`, and brings `before` up to date.
    pub(crate) fn add_new_to(&self, before: &mut [u32], counts: &mut Counts) {
        add_new(&self.copy(), before, counts);
    }

    fn copy(&self) -> Numbers {
        let mut copy = [0; BUCKETS];
        for (number, bucket) in copy.iter_mut().zip(&self.buckets) {
            *number = u32::try_from(bucket.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        }
        copy
    }
}

impl Counts {
    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;

    const SECOND: u64 = 1_000_000_000;

    fn new_values(recent: &Recent, seen: &mut Seen, now: u64) -> u64 {
        let mut counts = Counts::new();
        recent.add_new_to(now, seen, &mut counts);
        counts.total()
    }

    #[test]
    fn every_value_is_new_exactly_once_also_across_turns() {
        let (recent, mut seen) = (Recent::default(), Seen::new());
        let mut told = 0;
        let mut made = 0;
        for second in 0..400 {
            let now = second * SECOND;
            for _ in 0..second % 7 {
                recent.end(now, second * 1000, Outcome::Success);
                made += 1;
            }
            if second % 3 == 0 {
                told += new_values(&recent, &mut seen, now);
            }
        }
        assert_eq!(told, made);
    }

    #[test]
    fn a_reader_that_slept_for_minutes_misses_what_was_forgotten_and_counts_nothing_twice() {
        let (recent, mut seen) = (Recent::default(), Seen::new());
        recent.end(0, 5, Outcome::Success);
        assert_eq!(new_values(&recent, &mut seen, SECOND), 1);
        recent.end(65 * SECOND, 5, Outcome::Success);
        recent.end(300 * SECOND, 5, Outcome::Success);
        assert_eq!(new_values(&recent, &mut seen, 301 * SECOND), 1);
        assert_eq!(new_values(&recent, &mut seen, 302 * SECOND), 0);
    }

    #[test]
    fn a_look_while_a_turn_begins_counts_no_minute_twice_and_loses_nothing() {
        let (recent, mut seen) = (Recent::default(), Seen::new());
        for minute in 0..2 {
            recent.end(minute * 60 * SECOND, 5, Outcome::Success);
            assert_eq!(
                new_values(&recent, &mut seen, (minute * 60 + 1) * SECOND),
                1
            );
        }
        recent.end(119 * SECOND, 5, Outcome::Success);
        // Somebody else sees the new turn first, and has not emptied what is two minutes old.
        let before = recent.claim(2).expect("a new turn");
        assert_eq!(new_values(&recent, &mut seen, 120 * SECOND), 0);
        recent.empty(before, 2);
        recent.end(121 * SECOND, 5, Outcome::Success);
        assert_eq!(new_values(&recent, &mut seen, 122 * SECOND), 2);
    }

    #[test]
    fn merged_counts_are_the_sum() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.record(1_000_000);
        other.record(9_000_000);
        let (mut sum, mut more) = (Counts::new(), Counts::new());
        one.add_new_to(&mut Histogram::nothing(), &mut sum);
        other.add_new_to(&mut Histogram::nothing(), &mut more);
        sum.merge(&more);
        assert_eq!(sum.total(), 2);
        assert!(sum.quantile(1000) >= 9_000_000);
        sum.clear();
        assert_eq!(sum.total(), 0);
    }
}
