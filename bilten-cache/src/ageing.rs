use std::collections::VecDeque;

use crate::clock::Nanos;

/// How often the log's position is noted.
const SAMPLE: Nanos = 60_000_000_000;
/// Two days at one a minute; with longer lives every other sample goes.
const SAMPLES: usize = 2_880;

/// Where the log stood at some times, to know which markers are older than any entry can be. Pure.
#[derive(Debug, Default)]
pub(crate) struct Ageing {
    /// Newest last.
    positions: VecDeque<(Nanos, u64)>,
}

impl Ageing {
    /// Notes the position, at most once a minute. `true` when it did.
    pub(crate) fn sample(&mut self, now: Nanos, position: u64) -> bool {
        let last = self.positions.back();
        let due = last.is_none_or(|(at, _)| now.saturating_sub(*at) >= SAMPLE);
        if due {
            self.positions.push_back((now, position));
        }
        if self.positions.len() > SAMPLES {
            self.positions = self.positions.iter().copied().step_by(2).collect();
        }
        due
    }

    /// The newest position that no entry of this life is older than, unless it was told before.
    pub(crate) fn outlived(&mut self, now: Nanos, life: Nanos) -> Option<u64> {
        let life = life.saturating_add(SAMPLE);
        let mut newest = None;
        while let Some((at, position)) = self.positions.front().copied()
            && now.saturating_sub(at) > life
        {
            newest = Some(position);
            self.positions.pop_front();
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_outlived_when_it_is_older_than_the_longest_life() {
        let mut ageing = Ageing::default();
        for (minute, position) in [(0, 5), (1, 7), (2, 9)] {
            assert!(ageing.sample(minute * SAMPLE, position));
            assert!(!ageing.sample(minute * SAMPLE + 1, position + 1));
        }
        let life = 10 * SAMPLE;
        assert_eq!(ageing.outlived(11 * SAMPLE, life), None);
        assert_eq!(ageing.outlived(12 * SAMPLE + 1, life), Some(7));
        assert_eq!(ageing.outlived(12 * SAMPLE + 1, life), None);
        assert_eq!(ageing.outlived(Nanos::MAX, Nanos::MAX), None);
    }

    #[test]
    fn samples_stay_bounded_whatever_the_life() {
        let mut ageing = Ageing::default();
        for minute in 0..100_000 {
            ageing.sample(minute * SAMPLE, minute);
        }
        assert!(ageing.positions.len() <= SAMPLES);
        assert_eq!(ageing.positions.front(), Some(&(0, 0)));
    }
}
