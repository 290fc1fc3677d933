//! Alert rules for Prometheus, written from the same table of names as the metrics.

use std::fmt::Write as _;

use crate::error::Error;
use crate::names::{
    ALERTS_DROPPED, Kind, Naming, OVERFLOWED, QUERY_DURATION, REQUEST_DURATION, SAMPLES_DROPPED,
    Spec, exported,
};

/// One tier of the error budget: how fast it burns, over which windows, and how urgent that is.
struct Tier {
    name: &'static str,
    factor: f64,
    long: &'static str,
    short: &'static str,
    severity: &'static str,
}

/// Multi-window, multi-burn-rate tiers: <https://sre.google/workbook/alerting-on-slos/>, chapter 5, table 5-8.
const TIERS: [Tier; 3] = [
    Tier {
        name: "Fast",
        factor: 14.4,
        long: "1h",
        short: "5m",
        severity: "page",
    },
    Tier {
        name: "Medium",
        factor: 6.0,
        long: "6h",
        short: "30m",
        severity: "page",
    },
    Tier {
        name: "Slow",
        factor: 1.0,
        long: "3d",
        short: "6h",
        severity: "ticket",
    },
];

/// Alert rules in Prometheus's YAML, for a share of requests and queries that is to succeed, such as 0.999.
///
/// An error budget that burns too fast raises an alert when both a long and a short window agree, so it comes
/// early and goes soon after the errors do. Beside it are rules for what the monitor itself lost.
///
/// ```
/// use bilten_monitor::{Naming, prometheus};
///
/// let rules = prometheus::rules(Naming::OpenTelemetry, 0.999)?;
/// assert!(rules.contains("alert: RequestErrorBudgetBurnsFast"));
/// assert!(prometheus::rules(Naming::OpenTelemetry, 99.9).is_err());
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Objective`] when the share is not between 0 and 1.
pub fn rules(naming: Naming, success: f64) -> Result<String, Error> {
    if !(success > 0.0 && success < 1.0) {
        return Err(Error::Objective { success });
    }
    let mut text = "groups:\n  - name: bilten-monitor\n    rules:\n".to_owned();
    // A request's `status` is its status code, also under the short names.
    let query_outcome = if naming == Naming::Short {
        "status"
    } else {
        "outcome"
    };
    let watched = [
        ("Request", "requests", &REQUEST_DURATION, "outcome"),
        ("Query", "queries", &QUERY_DURATION, query_outcome),
    ];
    for (subject, plural, spec, label) in watched {
        for tier in &TIERS {
            let count = shown(spec, naming) + "_count";
            let over = |window| burn(&count, label, window, tier.factor, success);
            let expression = format!("{} and {}", over(tier.long), over(tier.short));
            let name = format!("{subject}ErrorBudgetBurns{}", tier.name);
            let summary = format!(
                "{plural} fail {} times faster than the objective of {success} allows",
                tier.factor
            );
            rule(&mut text, &name, &expression, tier.severity, &summary);
        }
    }
    let losses = [
        (
            "MonitorLabelsOverflow",
            &OVERFLOWED,
            "a label has too many values and some are counted under other",
        ),
        (
            "MonitorAlertsDropped",
            &ALERTS_DROPPED,
            "an alert sink is too slow and alerts were dropped",
        ),
        (
            "MonitorSamplesDropped",
            &SAMPLES_DROPPED,
            "a metric sink is too slow and samples were dropped",
        ),
    ];
    for (name, spec, summary) in losses {
        let expression = format!("increase({}[10m]) > 0", shown(spec, naming));
        rule(&mut text, name, &expression, "ticket", summary);
    }
    Ok(text)
}

fn burn(count: &str, label: &str, window: &str, factor: f64, success: f64) -> String {
    // Rounded: the difference of two decimals has digits that nobody wrote.
    let limit = format!("{:.9}", factor * (1.0 - success));
    let limit = limit.trim_end_matches('0').trim_end_matches('.');
    format!(
        "(sum(rate({count}{{{label}=~\"error|panicked\"}}[{window}])) / sum(rate({count}[{window}]))) > {limit}"
    )
}

fn rule(text: &mut String, name: &str, expression: &str, severity: &str, summary: &str) {
    let written = write!(
        text,
        "      - alert: {name}\n        expr: '{expression}'\n        labels:\n          severity: {severity}\n        annotations:\n          summary: '{summary}'\n"
    );
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// A metric's name as the exporter shows it, with its unit or `_total`.
fn shown(spec: &Spec, naming: Naming) -> String {
    let name = exported(if naming == Naming::Short {
        spec.name.short
    } else {
        spec.name.otel
    });
    let unit = spec.unit.map_or("", |unit| unit.as_str());
    match (spec.kind, unit) {
        (Kind::Counter, _) => name + "_total",
        (_, "") => name,
        (_, unit) => format!("{name}_{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_that_is_no_share_is_refused() {
        for bad in [0.0, 1.0, 99.9, -0.5, f64::NAN] {
            assert!(
                matches!(
                    rules(Naming::OpenTelemetry, bad),
                    Err(Error::Objective { .. })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_limit_is_the_factor_times_the_budget() {
        let expression = burn("x_count", "outcome", "5m", 14.4, 0.999);
        assert!(expression.ends_with("> 0.0144"), "{expression}");
        assert!(burn("x_count", "outcome", "5m", 1.0, 0.99).ends_with("> 0.01"));
    }
}
