//! Queries that one request runs again and again, one after the other.

use std::sync::Arc;
use std::time::Duration;

use metrics::SharedString;

use crate::alert::Gate;

/// Names that are counted for one request; further ones are not.
const MAX_NAMES: usize = 64;

/// When repetition is worth an alert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) count: u32,
    pub(crate) total: Duration,
}

/// A query name with the limit on its alerts.
#[derive(Debug)]
pub(crate) struct Repeatable {
    pub(crate) name: SharedString,
    pub(crate) gate: Gate,
}

/// One query's runs within a request.
#[derive(Clone, Debug)]
pub(crate) struct Repeated {
    pub(crate) query: Arc<Repeatable>,
    pub(crate) count: u32,
    pub(crate) total_nanos: u64,
    last_end: u64,
}

/// Every query's runs within a request.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Vec<Repeated>);

impl Repeats {
    /// Notes a run. Runs that overlap an earlier one were meant to run together and are no repetition.
    pub(crate) fn note(&mut self, query: &Arc<Repeatable>, started: u64, ended: u64) {
        let took = ended.saturating_sub(started);
        if let Some(run) = self.0.iter_mut().find(|run| Arc::ptr_eq(&run.query, query)) {
            if started >= run.last_end {
                run.count = run.count.saturating_add(1);
                run.total_nanos = run.total_nanos.saturating_add(took);
            }
            run.last_end = run.last_end.max(ended);
        } else if self.0.len() < MAX_NAMES {
            self.0.push(Repeated {
                query: Arc::clone(query),
                count: 1,
                total_nanos: took,
                last_end: ended,
            });
        }
    }

    /// What the rule finds worth telling.
    pub(crate) fn over(&self, rule: Rule) -> Vec<Repeated> {
        let over = |run: &&Repeated| {
            run.count >= rule.count && Duration::from_nanos(run.total_nanos) > rule.total
        };
        self.0.iter().filter(over).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        count: 5,
        total: Duration::from_millis(50),
    };
    const MILLI: u64 = 1_000_000;

    fn query(name: &'static str) -> Arc<Repeatable> {
        Arc::new(Repeatable {
            name: name.into(),
            gate: Gate::default(),
        })
    }

    fn told(runs: &[(u64, u64)]) -> Vec<(u32, u64)> {
        let (query, mut repeats) = (query("load_author"), Repeats::default());
        runs.iter()
            .for_each(|(start, end)| repeats.note(&query, start * MILLI, end * MILLI));
        repeats
            .over(RULE)
            .iter()
            .map(|run| (run.count, run.total_nanos / MILLI))
            .collect()
    }

    #[test]
    fn six_in_sequence_are_told_and_fewer_or_quicker_or_concurrent_ones_are_not() {
        let sequence = |count: u64, each: u64| {
            (0..count)
                .map(|n| (n * each, (n + 1) * each))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&sequence(6, 10)), [(6, 60)]);
        assert_eq!(told(&sequence(4, 20)), []);
        assert_eq!(told(&sequence(6, 1)), []);
        assert_eq!(told(&[(0, 60); 6]), []);
        assert_eq!(told(&sequence(5, 10)), [], "50 ms is not more than 50 ms");
    }

    #[test]
    fn names_are_bounded() {
        let mut repeats = Repeats::default();
        for _ in 0..1000 {
            repeats.note(&query("another"), 0, 1);
        }
        assert_eq!(repeats.0.len(), MAX_NAMES);
    }
}
