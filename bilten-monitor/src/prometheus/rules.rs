//! Alert rules for Prometheus, written from the same table of names as the metrics.

use std::fmt::Write as _;

use super::burn::TIERS;
use super::known::KNOWN;
use super::objectives::Objectives;
use super::template::resolved;
use crate::error::Error;
use crate::names::Naming;
use crate::nanos::{nanos, seconds};

/// One alert rule, and what a person does when it fires.
///
/// Made by [`alert_rules`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlertRule {
    /// The alert's name.
    pub name: String,
    /// The PromQL expression that is true when something is wrong.
    pub expression: String,
    /// How long it has to be true, such as `5m`; empty for at once.
    pub hold: &'static str,
    /// `page` for now, `ticket` for the next working day.
    pub severity: &'static str,
    /// What is wrong.
    pub summary: String,
    /// What to look at and what to do.
    pub remedy: &'static str,
}

/// Every alert rule under these names, for pages and tools; [`rules`] writes them as Prometheus reads them.
///
/// ```
/// use bilten_monitor::{Naming, prometheus};
///
/// let rules = prometheus::alert_rules(Naming::OpenTelemetry, 0.999)?;
/// assert!(rules.iter().all(|rule| !rule.remedy.is_empty()));
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Objective`] when a share is not between 0 and 1, [`Error::Zero`] for a latency of zero.
pub fn alert_rules(
    naming: Naming,
    objectives: impl Into<Objectives>,
) -> Result<Vec<AlertRule>, Error> {
    let objectives = objectives.into();
    objectives.check()?;
    let mut rules = budgets(naming, &objectives);
    rules.extend(KNOWN.iter().map(|known| AlertRule {
        name: known.name.to_owned(),
        expression: filled(known.expression, naming),
        hold: known.hold,
        severity: known.severity,
        summary: known.summary.to_owned(),
        remedy: known.remedy,
    }));
    Ok(rules)
}

/// Alert rules in Prometheus's YAML, for a share of requests and queries that is to succeed, such as 0.999.
///
/// An error budget that burns too fast raises an alert when both a long and a short window agree, so it comes
/// early and goes soon after the errors do. Each service has a budget of its own: a service is what Prometheus scrapes
/// under one `job`. Queries that end with a unique or foreign key that was hurt, or without the row that they were to
/// find or change, are no errors here: the database works. Beside it are rules for saturation, the database's nodes, the cache,
/// health checks and what the monitor itself lost.
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
/// [`Error::Objective`] when a share is not between 0 and 1, [`Error::Zero`] for a latency of zero.
pub fn rules(naming: Naming, objectives: impl Into<Objectives>) -> Result<String, Error> {
    let mut text = "groups:\n  - name: bilten\n    rules:\n".to_owned();
    for rule in alert_rules(naming, objectives)? {
        let hold = match rule.hold {
            "" => String::new(),
            hold => format!("        for: {hold}\n"),
        };
        let AlertRule {
            name,
            expression,
            severity,
            summary,
            remedy,
            ..
        } = &rule;
        let written = write!(
            text,
            "      - alert: {name}\n        expr: {expression:?}\n{hold}        labels:\n          severity: {severity}\n        annotations:\n          summary: {summary:?}\n          description: {remedy:?}\n"
        );
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    Ok(text)
}

/// Answers of a database that works: as a client's error is none of the service's, these are none of the database's.
const OF_THE_DATA: [&str; 4] = [
    "unique_violation",
    "foreign_key_violation",
    "not_found",
    "no_row_changed",
];

fn budgets(naming: Naming, objectives: &Objectives) -> Vec<AlertRule> {
    let failed = |metric: &str, which: &str, window: &str| {
        format!(
            "(sum by (job) (rate([[{metric}]]_count{{[[outcome]]=~\"error|panicked\"{which}}}[{window}])) / sum by (job) (rate([[{metric}]]_count[{window}])))"
        )
    };
    let share = objectives.success;
    let request = "http.server.request.duration";
    let query = "db.client.operation.duration";
    let no_fault = format!(",[[error.type]]!~\"{}\"", OF_THE_DATA.join("|"));
    let mut rules = budget(
        naming,
        ("RequestError", "requests of {{ $labels.job }} fail"),
        share,
        |window| failed(request, "", window),
    );
    rules.extend(budget(
        naming,
        ("QueryError", "queries of {{ $labels.job }} fail"),
        share,
        |window| failed(query, &no_fault, window),
    ));
    if let Some((limit, share)) = objectives.latency {
        // Prometheus 3 keeps the bound 1 as 1.0, Prometheus 2 as it was written.
        let bound = seconds(nanos(limit));
        let le = if bound.fract() == 0.0 {
            format!("{bound}(\\\\.0)?")
        } else {
            bound.to_string()
        };
        let late = |window: &str| {
            format!(
                "(1 - sum by (job) (rate([[{request}]]_bucket{{le=~\"{le}\"}}[{window}])) / sum by (job) (rate([[{request}]]_count[{window}])))"
            )
        };
        rules.extend(budget(
            naming,
            ("RequestLatency", "requests of {{ $labels.job }} are late"),
            share,
            late,
        ));
    }
    rules
}

fn budget(
    naming: Naming,
    (subject, what): (&str, &str),
    share: f64,
    bad: impl Fn(&str) -> String,
) -> Vec<AlertRule> {
    let tiers = TIERS.iter().filter_map(|tier| {
        let limit = tier.limit(share)?;
        let over = |window| filled(&format!("{} > {limit}", bad(window)), naming);
        Some(AlertRule {
            name: format!("{subject}BudgetBurns{}", tier.name),
            expression: format!("{} and {}", over(tier.long), over(tier.short)),
            hold: "",
            severity: tier.severity,
            summary: format!("{what} {} times as fast as an objective of {share} allows", tier.factor),
            remedy: "Find the route or query with the most errors on the dashboard; undo what was last deployed.",
        })
    });
    tiers.collect()
}

/// What is in this file is in the table: a test resolves all of it.
fn filled(template: &str, naming: Naming) -> String {
    resolved(template, naming).unwrap_or_else(|missing| format!("absent({missing:?})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_names_what_the_table_has() {
        for known in KNOWN {
            assert_eq!(
                resolved(known.expression, Naming::Short).err(),
                None,
                "{}",
                known.name
            );
        }
        let objectives = Objectives::default().latency(std::time::Duration::from_millis(250), 0.95);
        for naming in [Naming::OpenTelemetry, Naming::Short] {
            let rules = rules(naming, objectives).expect("valid");
            assert!(
                !rules.contains("absent(") && !rules.contains("[["),
                "{rules}"
            );
        }
    }

    #[test]
    fn no_two_rules_have_one_name() {
        let rules = alert_rules(Naming::OpenTelemetry, 0.999).expect("valid");
        let names: std::collections::HashSet<_> = rules.iter().map(|rule| &rule.name).collect();
        assert_eq!(names.len(), rules.len());
    }
}
