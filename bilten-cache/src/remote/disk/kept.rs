//! What loads must reflect, as it stands in the database: each demand with the number of its record, and until when all of them count.

use crate::remote::Demand;

/// More than these become one for the newest state.
const MOST: usize = 32;

/// The demands of one key, or of all.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    until: u64,
    demands: Vec<(u64, Demand)>,
}

impl Kept {
    /// Those that count still, or none.
    pub(super) fn read(text: Option<&str>, now: u64) -> Self {
        let kept = text.map_or_else(Self::none, Self::decode);
        if now < kept.until { kept } else { Self::none() }
    }

    fn none() -> Self {
        Self {
            until: 0,
            demands: Vec::new(),
        }
    }

    /// Adds one that takes in all up to `known`.
    pub(super) fn add(&mut self, number: u64, known: u64, demand: Demand, until: u64) {
        self.demands.retain(|(at, _)| *at > known && *at != number);
        let demand = if self.demands.len() < MOST {
            demand
        } else {
            self.demands.clear();
            Demand::Newest
        };
        self.demands.push((number, demand));
        self.until = self.until.max(until);
    }

    pub(super) fn demands(self) -> Vec<Demand> {
        self.demands.into_iter().map(|(_, demand)| demand).collect()
    }

    pub(super) fn is_over(text: &str, now: u64) -> bool {
        Self::decode(text).until <= now
    }

    pub(super) fn encode(&self) -> String {
        let mut text = self.until.to_string();
        for (number, demand) in &self.demands {
            text.push_str(&format!(" {number}:{}", demand.encode()));
        }
        text
    }

    /// What cannot be read may have asked for anything.
    fn decode(text: &str) -> Self {
        let mut words = text.split(' ');
        let until = words.next().and_then(|word| word.parse().ok());
        let demands = words.map(|word| {
            let (number, demand) = word.split_once(':').unwrap_or_default();
            (number.parse().unwrap_or(u64::MAX), Demand::decode(demand))
        });
        Self {
            until: until.unwrap_or(u64::MAX),
            demands: demands.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_come_back_as_they_were_kept_for_their_time() {
        let mut kept = Kept::read(None, 0);
        kept.add(7, 0, Demand::of("a"), 100);
        kept.add(8, 0, Demand::of("b"), 50);
        let text = kept.encode();
        assert_eq!(Kept::read(Some(&text), 99), kept);
        assert_eq!(Kept::read(Some(&text), 100).demands(), []);
        assert!(Kept::is_over(&text, 100) && !Kept::is_over(&text, 99));
        kept.add(9, 7, Demand::of("c"), 100);
        assert_eq!(kept.demands(), [Demand::of("b"), Demand::of("c")]);
    }

    #[test]
    fn too_many_demands_ask_for_the_newest_state() {
        let mut kept = Kept::read(None, 0);
        for number in 1..=MOST as u64 + 1 {
            kept.add(number, 0, Demand::of(number.to_string()), 100);
        }
        assert!(kept.demands().contains(&Demand::Newest));
    }
}
