//! What a node told about itself, and what that is worth now.

use std::time::Instant;

use crate::driver::Sample;
use crate::lag::{Lag, STALE};

/// What the last probe saw.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// From before the question.
    pub(crate) at: Instant,
    pub(crate) sample: Sample,
    pub(crate) lag: Option<Lag>,
    /// Nothing happened since that may have made it another state.
    pub(crate) holds: bool,
    /// A probe since had no good answer.
    pub(crate) missed: bool,
}

impl Seen {
    pub(crate) fn new(at: Instant, sample: Sample, lag: Option<Lag>) -> Self {
        Self {
            at,
            sample,
            lag,
            holds: true,
            missed: false,
        }
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) <= STALE
    }

    /// A newer position, asked for between two probes. What was known of the lag still holds, as a replica only goes forward.
    /// Whoever waited for a place before it asked may come with one that is older than what is known.
    pub(crate) fn moved(&mut self, asked: Instant, sample: Sample) {
        if asked >= self.at || sample.is_as_far_as(&self.sample) {
            self.at = self.at.max(asked);
            self.sample = sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(position: u64) -> Sample {
        Sample {
            position: Some(position),
            timeline: Some(1),
            ..Sample::default()
        }
    }

    #[test]
    fn an_answer_that_waited_for_its_place_makes_nothing_older() {
        let now = Instant::now();
        let before = now - Duration::from_secs(5);
        let mut seen = Seen::new(now, at(100), None);
        seen.moved(before, at(90));
        assert_eq!((seen.at, seen.sample.position), (now, Some(100)));
        seen.moved(before, at(110));
        assert_eq!((seen.at, seen.sample.position), (now, Some(110)));
        let later = now + Duration::from_secs(1);
        seen.moved(later, at(120));
        assert_eq!((seen.at, seen.sample.position), (later, Some(120)));
    }
}
