//! What to do about a check when somebody asks: pure.

use std::time::Duration;

/// What is known about a check at the moment of the question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// Age of the last result.
    pub(crate) age: Option<Duration>,
    /// How long a result counts.
    pub(crate) cache: Duration,
    /// A run is under way and within its time.
    pub(crate) running: bool,
    /// Some earlier run has not ended, even if it was given up.
    pub(crate) alive: bool,
    /// Results come from a ticker, not from questions.
    pub(crate) background: bool,
    /// The start-up delay is not over.
    pub(crate) delayed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// What is stored is the answer, even if it is "not run yet".
    Use,
    /// Wait for the run that is under way.
    Join,
    /// Start a run and wait for it.
    Start,
    /// Start none, because the last one never ended; that is the answer.
    Overdue,
}

/// Decides for a question. A ticker asks with `age` and `background` left out.
pub(crate) fn next(situation: Situation) -> Next {
    match situation {
        Situation { delayed: true, .. } => Next::Use,
        Situation {
            age: Some(_),
            background: true,
            ..
        } => Next::Use,
        Situation {
            age: Some(age),
            cache,
            ..
        } if age < cache => Next::Use,
        Situation { running: true, .. } => Next::Join,
        Situation { alive: true, .. } => Next::Overdue,
        _ => Next::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::{Next, Situation, next};
    use std::time::Duration;

    #[test]
    fn at_most_one_run_and_none_while_a_result_counts() {
        let idle = Situation {
            age: None,
            cache: Duration::from_secs(1),
            running: false,
            alive: false,
            background: false,
            delayed: false,
        };
        let age = |ms| Some(Duration::from_millis(ms));
        let table = [
            (idle, Next::Start),
            (
                Situation {
                    delayed: true,
                    ..idle
                },
                Next::Use,
            ),
            (
                Situation {
                    age: age(999),
                    ..idle
                },
                Next::Use,
            ),
            (
                Situation {
                    age: age(1000),
                    ..idle
                },
                Next::Start,
            ),
            (
                Situation {
                    age: age(0),
                    cache: Duration::ZERO,
                    ..idle
                },
                Next::Start,
            ),
            (
                Situation {
                    age: age(1000),
                    running: true,
                    alive: true,
                    ..idle
                },
                Next::Join,
            ),
            (
                Situation {
                    age: age(1000),
                    alive: true,
                    ..idle
                },
                Next::Overdue,
            ),
            (
                Situation {
                    age: age(999),
                    alive: true,
                    ..idle
                },
                Next::Use,
            ),
            (
                Situation {
                    age: age(99_999),
                    background: true,
                    ..idle
                },
                Next::Use,
            ),
            (
                Situation {
                    background: true,
                    ..idle
                },
                Next::Start,
            ),
        ];
        for (situation, expected) in table {
            assert_eq!(next(situation), expected, "{situation:?}");
        }
    }
}
