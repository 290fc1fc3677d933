//! From single results to the status that is reported: thresholds, pure.

use crate::status::Status;

/// How many equal results in a row change the reported status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) failure: u32,
    pub(crate) success: u32,
}

/// What is remembered of a check between runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    reported: Status,
    failures: u32,
    successes: u32,
    changes: u64,
    has_been_up: bool,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self {
            reported: Status::Unknown,
            failures: 0,
            successes: 0,
            changes: 0,
            has_been_up: false,
        }
    }

    /// The status last reported; `Unknown` before the first success.
    pub(crate) const fn reported(&self) -> Status {
        self.reported
    }

    /// Failures in a row.
    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// How often the reported status has changed.
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether `Up` or `Degraded` has ever been reported.
    pub(crate) const fn has_been_up(&self) -> bool {
        self.has_been_up
    }

    /// Takes one result and gives the status to report.
    ///
    /// A result against the reported side counts until its threshold is reached; a change within a side
    /// (`Up` to `Degraded`) is reported at once. A check starts on neither side, as `Unknown`.
    pub(crate) fn record(&mut self, result: Status, thresholds: Thresholds) -> Status {
        let (count, needed) = if result.is_healthy() {
            self.failures = 0;
            self.successes = self.successes.saturating_add(1);
            (self.successes, thresholds.success)
        } else {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            (self.failures, thresholds.failure)
        };
        let same_side =
            self.reported != Status::Unknown && self.reported.is_healthy() == result.is_healthy();
        if (same_side || count >= needed) && self.reported != result {
            self.reported = result;
            self.changes += 1;
            self.has_been_up |= result.is_healthy();
        }
        self.reported
    }

    /// The last result has become too old: the check is on neither side again, unless it is known to fail.
    pub(crate) const fn expire(&mut self) -> Status {
        if self.reported.is_healthy() {
            self.reported = Status::Unknown;
            self.successes = 0;
            self.changes += 1;
        }
        self.reported
    }
}

#[cfg(test)]
mod tests {
    use super::{History, Thresholds};
    use crate::status::Status::{self, Degraded, Down, Unknown, Up};

    fn run(failure: u32, success: u32, results: &[Status]) -> (Vec<Status>, u64) {
        let mut history = History::new();
        let thresholds = Thresholds { failure, success };
        let seen = results
            .iter()
            .map(|r| history.record(*r, thresholds))
            .collect();
        (seen, history.changes())
    }

    #[test]
    fn thresholds_hold_the_reported_status() {
        assert_eq!(run(1, 1, &[Up, Down, Up]).0, [Up, Down, Up]);
        assert_eq!(run(3, 1, &[Up, Down, Down, Down]).0, [Up, Up, Up, Down]);
        assert_eq!(run(1, 2, &[Down, Up, Up]).0, [Down, Down, Up]);
        assert_eq!(
            run(3, 1, &[Down, Down, Down]).0,
            [Unknown, Unknown, Down],
            "never succeeded is never up"
        );
        assert_eq!(
            run(3, 1, &[Up, Degraded, Up]).0,
            [Up, Degraded, Up],
            "within a side at once"
        );
        assert_eq!(
            run(2, 2, &[Up, Up, Down, Up, Down]).0,
            [Unknown, Up, Up, Up, Up]
        );
    }

    #[test]
    fn what_went_stale_has_to_succeed_anew() {
        let thresholds = Thresholds {
            failure: 1,
            success: 2,
        };
        let mut history = History::new();
        assert!(!history.has_been_up());
        assert_eq!([Up, Up].map(|r| history.record(r, thresholds))[1], Up);
        assert_eq!((history.expire(), history.changes()), (Unknown, 2));
        assert_eq!((history.expire(), history.changes()), (Unknown, 2));
        assert!(history.has_been_up());
        let seen = [Up, Up, Down].map(|r| history.record(r, thresholds));
        assert_eq!(seen, [Unknown, Up, Down]);
        assert_eq!(history.expire(), Down, "old news are no better news");
    }

    #[test]
    fn flapping_is_counted() {
        assert_eq!(run(1, 1, &[Up, Down, Up, Down]).1, 4);
        assert_eq!(run(2, 2, &[Up, Down, Up, Down]).1, 0);
    }
}
