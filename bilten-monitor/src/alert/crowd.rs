//! The subjects whose alerts found no room, in one alert.

use super::gate::Passed;
use super::{AlertKind, Fact};

/// Subjects that are named; of further ones only the number is told.
const NAMED: usize = 16;
/// A subject is cut to so many characters.
const MAX_SUBJECT: usize = 80;

/// Adds up what was held back.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) held: u64,
    pub(super) worst: u64,
    subjects: Vec<(u64, String)>,
    more: usize,
}

impl Crowd {
    pub(super) fn add(&mut self, kind: AlertKind, subject: &str, held: Passed) {
        self.held = self.held.saturating_add(held.suppressed);
        self.worst = self.worst.max(held.worst);
        let least = self.subjects.last().map_or(0, |(count, _)| *count);
        if self.subjects.len() >= NAMED {
            self.more += 1;
            if held.suppressed <= least {
                return;
            }
            self.subjects.pop();
        }
        let cut: String = subject.chars().take(MAX_SUBJECT).collect();
        let text = format!("{} {cut:?}: {}", kind.label(), held.suppressed);
        self.subjects.push((held.suppressed, text));
        self.subjects
            .sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    }

    /// Those with the most alerts held back first.
    pub(super) fn facts(self) -> Vec<Fact> {
        let named: Vec<_> = self.subjects.into_iter().map(|(_, text)| text).collect();
        let mut facts = vec![("subjects", named.join(", "))];
        if self.more > 0 {
            facts.push(("further subjects", self.more.to_string()));
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(suppressed: u64) -> Passed {
        Passed {
            suppressed,
            worst: suppressed * 10,
        }
    }

    #[test]
    fn the_worst_sixteen_are_named_and_the_others_counted() {
        let mut crowd = Crowd::default();
        for n in 1..=100 {
            crowd.add(AlertKind::SlowQuery, &format!("q{n}"), held(n));
        }
        assert_eq!((crowd.held, crowd.worst), (5050, 1000));
        let facts = crowd.facts();
        assert_eq!(facts[1], ("further subjects", "84".to_owned()));
        assert!(
            facts[0]
                .1
                .starts_with("slow query \"q100\": 100, slow query \"q99\": 99, ")
        );
        assert!(facts[0].1.ends_with("slow query \"q85\": 85"), "{facts:?}");
    }

    #[test]
    fn a_subject_of_a_megabyte_is_cut() {
        let mut crowd = Crowd::default();
        crowd.add(AlertKind::SlowRequest, &"\u{e9}".repeat(1 << 20), held(1));
        assert!(crowd.facts()[0].1.len() < 3 * MAX_SUBJECT);
    }
}
