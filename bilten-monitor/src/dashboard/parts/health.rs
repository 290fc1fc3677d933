//! `bilten-health`: what each check last said.

use serde::Serialize;

use super::reading::Reading;
use crate::dashboard::number::millis;

/// One check.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(in crate::dashboard) struct Check {
    name: String,
    up: bool,
    degraded: bool,
    /// Milliseconds, the median of the last minutes.
    took: f32,
    changes: f64,
    /// Since the last run, in seconds.
    age: Option<u64>,
}

/// Every check that ran and was not removed, by name.
pub(in crate::dashboard) fn checks(readings: &[Reading], now: u64) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    let of_checks = readings
        .iter()
        .filter(|reading| reading.series.key.name().starts_with("health_"));
    // A check that was removed says so through its level; its other series stay as they were.
    let removed: Vec<_> = of_checks
        .clone()
        .filter(|reading| reading.total.is_nan())
        .map(|reading| reading.label("check"))
        .collect();
    for reading in of_checks {
        let name = reading.label("check");
        if removed.contains(&name) {
            continue;
        }
        let at = checks
            .iter()
            .position(|check| check.name == name)
            .unwrap_or_else(|| {
                checks.push(Check {
                    name: name.into_owned(),
                    ..Check::default()
                });
                checks.len() - 1
            });
        let check = &mut checks[at];
        match reading.series.key.name() {
            "health_check_up" => check.up = reading.total > 0.0,
            "health_check_degraded" => check.degraded = reading.total > 0.0,
            "health_status_changes_total" => check.changes = reading.total,
            "health_check_duration_seconds" => {
                check.took = millis(reading.took[0]);
                check.age = reading.touched.map(|at| now.saturating_sub(at) / 1000);
            }
            _ => {}
        }
    }
    checks.sort_by(|one, other| one.name.cmp(&other.name));
    checks
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::{Key, Label};

    use super::super::reading::Readings;
    use super::*;
    use crate::dashboard::board::{Board, Cell};
    use crate::stats::Histogram;

    #[test]
    fn a_check_has_its_last_word_and_its_age() {
        let (board, mut readings) = (Board::default(), Readings::default());
        let key = |name: &'static str, check: &'static str| {
            Key::from_parts(name, vec![Label::new("check", check)])
        };
        board.cell(&key("health_check_up", "redis"), || {
            Cell::Gauge(Arc::default())
        });
        board.cell(&key("health_check_up", "database"), || {
            Cell::Gauge(Arc::new(1f64.to_bits().into()))
        });
        board.cell(&key("health_check_degraded", "database"), || {
            Cell::Gauge(Arc::new(1f64.to_bits().into()))
        });
        board.cell(&key("health_check_duration_seconds", "database"), || {
            let times = Histogram::default();
            times.record(3_000_000);
            Cell::Times(Arc::new(times))
        });
        readings.read(&board, 1.0, 10_000);
        board.cell(&key("health_check_up", "removed"), || {
            Cell::Gauge(Arc::new(f64::NAN.to_bits().into()))
        });
        board.cell(&key("health_status_changes_total", "removed"), || {
            Cell::Counter(Arc::default())
        });
        let checks = checks(&readings.read(&board, 1.0, 17_500), 17_500);
        let [database, redis] = &checks[..] else {
            panic!("two checks: {checks:?}")
        };
        assert_eq!(
            (database.up, database.degraded, database.took, database.age),
            (true, true, 3.0, Some(7))
        );
        assert_eq!((redis.up, redis.degraded, redis.age), (false, false, None));
    }
}
