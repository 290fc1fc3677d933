//! The other formats of a report.

use crate::report::{CheckReport, Report};
use crate::status::Status;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::Duration;

impl Report {
    /// The whole report in the format of the IETF draft `draft-inadarei-api-health-check-06` (`application/health+json`).
    ///
    /// `Up` is `pass`, `Degraded` is `warn`, everything else `fail`; each check is `NAME:responseTime` in milliseconds.
    #[must_use]
    pub fn to_health_json(&self) -> String {
        let checks: Map<String, Value> = self
            .checks
            .iter()
            .map(|check| {
                (
                    format!("{}:responseTime", check.name),
                    json!([component(check)]),
                )
            })
            .collect();
        json!({ "status": word(self.status), "checks": checks }).to_string()
    }

    /// What anyone may see in that format: the status.
    #[must_use]
    pub fn public_health_json(&self) -> String {
        json!({ "status": word(self.status) }).to_string()
    }

    /// The whole report as text: the status, then one line per check, its name first.
    #[must_use]
    pub fn to_plain(&self) -> String {
        let mut text = format!("{}\n", self.status);
        for check in &self.checks {
            // Writing to a string cannot fail.
            let _ = write!(text, "{} {} {:?}", check.name, check.status, check.duration);
            if let Some(error) = &check.error {
                let _ = write!(text, " {error}");
            }
            text.push('\n');
        }
        text
    }
}

fn component(check: &CheckReport) -> Value {
    let mut component = json!({
        "observedValue": milliseconds(check.duration),
        "observedUnit": "ms",
        "status": word(check.status),
    });
    if let Some(time) = check.checked_at {
        component["time"] = humantime::format_rfc3339_millis(time).to_string().into();
    }
    // The draft wants it left out when the check passes.
    if let (Some(error), false) = (&check.error, check.status == Status::Up) {
        component["output"] = (&**error).into();
    }
    component
}

/// With three decimals, so that no digit is an artefact of the arithmetic.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Up => "pass",
        Status::Degraded => "warn",
        Status::Unknown | Status::Down | Status::ShuttingDown => "fail",
    }
}
