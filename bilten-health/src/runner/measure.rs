//! Metrics, through the `metrics` facade.

use crate::slot::Note;
use crate::status::Status;

const UP: &str = "health_check_up";
const DEGRADED: &str = "health_check_degraded";
const DURATION: &str = "health_check_duration_seconds";
const CHANGES: &str = "health_status_changes_total";

/// `health_check_up`, `health_check_degraded`, `health_check_duration_seconds` and `health_status_changes_total`, each with the label `check`.
pub(super) fn measure(check: &str, note: &Note) {
    // Once per run and not per question, so looking the handles up again costs nothing that matters.
    describe();
    // A recorder has no other way to take a level back; one that was left at its last value would tell of a check nobody runs.
    let level = |is: fn(Status) -> bool| {
        note.found
            .map_or(f64::NAN, |found| f64::from(u8::from(is(found))))
    };
    metrics::gauge!(UP, "check" => check.to_owned()).set(level(Status::is_healthy));
    let degraded = level(|found| found == Status::Degraded);
    metrics::gauge!(DEGRADED, "check" => check.to_owned()).set(degraded);
    if let Some(duration) = note.duration {
        metrics::histogram!(DURATION, "check" => check.to_owned()).record(duration.as_secs_f64());
    }
    if note.change.is_some() {
        metrics::counter!(CHANGES, "check" => check.to_owned()).increment(1);
    }
}

/// Each time, because a recorder may be installed at any time, and one that came later would show no help.
fn describe() {
    metrics::describe_gauge!(
        UP,
        "1 when the last run of the check was up or degraded, 0 when it was not or is too long ago, NaN once the check was removed."
    );
    metrics::describe_gauge!(
        DEGRADED,
        "1 when the last run of the check was degraded, 0 when it was up or down, NaN once the check was removed."
    );
    metrics::describe_histogram!(
        DURATION,
        metrics::Unit::Seconds,
        "How long a run of the check took, or how long it was waited for."
    );
    metrics::describe_counter!(
        CHANGES,
        "How often the reported status of the check has changed."
    );
}
