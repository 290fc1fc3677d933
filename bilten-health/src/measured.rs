//! Metrics, through the `metrics` facade.

use crate::status::Status;
use metrics::{Counter, Gauge, Histogram};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const UP: &str = "health_check_up";
const DEGRADED: &str = "health_check_degraded";
const DURATION: &str = "health_check_duration_seconds";
const CHANGES: &str = "health_status_changes_total";

/// The metrics of one check.
#[derive(Default)]
pub(crate) struct Measured(Mutex<Handles>);

/// Held from one run to the next: a recorder may let go of what nobody holds, to make room for others.
#[derive(Default)]
#[allow(dead_code)] // held, and never used again
struct Handles {
    levels: Option<[Gauge; 2]>,
    duration: Option<Histogram>,
    changes: Option<Counter>,
}

impl Measured {
    /// `health_check_up`, `health_check_degraded`, `health_check_duration_seconds` and `health_status_changes_total`, each with the label `check`.
    ///
    /// Without a status found, the levels are taken back.
    pub(crate) fn note(
        &self,
        check: &str,
        found: Option<Status>,
        duration: Option<Duration>,
        changed: bool,
    ) {
        // Once per run and not per question, so looking the handles up again costs nothing that matters; a recorder may have come since.
        describe();
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.levels = Some(levels(check, found));
        if let Some(duration) = duration {
            let durations = metrics::histogram!(DURATION, "check" => check.to_owned());
            durations.record(duration.as_secs_f64());
            held.duration = Some(durations);
        }
        if changed {
            let changes = metrics::counter!(CHANGES, "check" => check.to_owned());
            changes.increment(1);
            held.changes = Some(changes);
        }
        if found.is_none() {
            *held = Handles::default();
        }
    }
}

fn levels(check: &str, found: Option<Status>) -> [Gauge; 2] {
    // A recorder has no other way to take a level back; one that was left at its last value would tell of what nobody knows.
    let level =
        |is: fn(Status) -> bool| found.map_or(f64::NAN, |found| f64::from(u8::from(is(found))));
    let up = metrics::gauge!(UP, "check" => check.to_owned());
    up.set(level(Status::is_healthy));
    let degraded = metrics::gauge!(DEGRADED, "check" => check.to_owned());
    degraded.set(level(|found| found == Status::Degraded));
    [up, degraded]
}

/// Each time, because a recorder may be installed at any time, and one that came later would show no help.
fn describe() {
    metrics::describe_gauge!(
        UP,
        "1 when the last run of the check was up or degraded, 0 when it was not, or is too long ago in the background; NaN while nobody asks for one that is run on demand, and once it was removed."
    );
    metrics::describe_gauge!(
        DEGRADED,
        "1 when the last run of the check was degraded, 0 when it was up or down; NaN where health_check_up is."
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
