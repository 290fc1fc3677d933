//! Metrics, through the `metrics` facade.

use std::time::Duration;

/// `health_check_up`, `health_check_duration_seconds` and `health_status_changes_total`, each with the label `check`.
pub(super) fn measure(check: &str, healthy: bool, duration: Duration, changed: bool) {
    // Once per run and not per question, so looking the handles up again costs nothing that matters.
    metrics::gauge!("health_check_up", "check" => check.to_owned())
        .set(f64::from(u8::from(healthy)));
    metrics::histogram!("health_check_duration_seconds", "check" => check.to_owned())
        .record(duration.as_secs_f64());
    if changed {
        metrics::counter!("health_status_changes_total", "check" => check.to_owned()).increment(1);
    }
}
