//! The page for people: one file, no script, nothing loaded from elsewhere.

use super::facts::facts;
use crate::report::{CheckReport, Reason, Report};
use crate::status::Status;
use std::fmt::Write;
use std::time::Duration;

/// What the page may load: its own style and the dot in its tab, nothing else.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

const STYLE: &str = include_str!("page.css");

/// With `details`, one row per check; without, the status alone.
pub(super) fn page(report: &Report, details: bool) -> String {
    let status = report.status;
    let mut page = String::with_capacity(8192);
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>\
         <meta http-equiv=refresh content=5><link rel=icon href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' \
         viewBox='0 0 2 2'><circle cx='1' cy='1' r='1' fill='{colour}'/></svg>\">\
         <title>{word}</title><style>{STYLE}</style><h1 class={status}>{word}</h1><p>{time}, renewed every 5 s</p>",
        colour = colour(status),
        word = word(status),
        time = humantime::format_rfc3339_seconds(report.timestamp),
    );
    if details && !report.checks.is_empty() {
        page.push_str(
            "<table><thead><tr><th>Check<th>Status<th class=n>Took<th class=n>Age<th class=n>Failures<th>Says</thead><tbody>",
        );
        report.checks.iter().for_each(|check| row(&mut page, check));
        page.push_str("</table>");
    }
    page.push('\n');
    page
}

fn row(page: &mut String, check: &CheckReport) {
    let _ = write!(
        page,
        "<tr><td>{}{}<td><b class={}>{}</b>",
        escape(&check.name),
        small(if check.critical { "" } else { "not critical" }),
        check.status,
        word(check.status),
    );
    // What never ran took no time and has no age.
    let (took, age) = match check.checked_at {
        Some(_) => (milliseconds(check.duration), seconds(check.age)),
        None => ("–".to_owned(), "–".to_owned()),
    };
    let _ = write!(
        page,
        "<td class=n data-is=took>{took}<td class=n data-is=age>{age}<td class=n data-is=failures>{}",
        check.consecutive_failures,
    );
    let says = match (&check.error, check.reason) {
        (Some(error), _) => error,
        (None, Some(Reason::NotRun)) => "has not run yet",
        (None, _) => "",
    };
    let _ = write!(page, "<td>{}", escape(says));
    for fact in facts(&check.details) {
        page.push_str(&small(&fact));
    }
}

/// A line of small print, or nothing.
fn small(text: &str) -> String {
    match text {
        "" => String::new(),
        _ => format!("<small>{}</small>", escape(text)),
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

const fn word(status: Status) -> &'static str {
    match status {
        Status::Up => "Up",
        Status::Degraded => "Degraded",
        Status::Unknown => "Unknown",
        Status::Down => "Down",
        Status::ShuttingDown => "Shutting down",
    }
}

/// Of the dot in the tab; `#` would end the address it is part of.
const fn colour(status: Status) -> &'static str {
    match status {
        Status::Up => "%231a7f37",
        Status::Degraded => "%23d29922",
        Status::Unknown | Status::Down | Status::ShuttingDown => "%23cf222e",
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{escape, page};
    use crate::answer::{Answer, Standing};
    use crate::report::{CheckReport, Reason, Report};
    use crate::said::{Facts, Said};
    use crate::status::Status;
    use serde_json::Map;
    use std::time::{Duration, SystemTime};
    use tokio::time::Instant;

    #[test]
    fn nothing_that_a_check_says_becomes_markup() {
        assert_eq!(
            escape(r#"<b a="x" c='y'>&"#),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;"
        );
    }
    /// A check that said something nobody has seen yet, in a group of its own.
    fn unseen() -> Answer {
        let check = CheckReport {
            name: "orders".into(),
            healthy: false,
            status: Status::Down,
            critical: true,
            duration: Duration::ZERO,
            age: Duration::ZERO,
            checked_at: Some(SystemTime::now()),
            last_success: None,
            consecutive_failures: 1,
            changes: 1,
            reason: Some(Reason::Failed),
            error: None,
            details: Map::new(),
            tags: [].into(),
        };
        let public = Report {
            healthy: false,
            status: Status::Down,
            timestamp: SystemTime::now(),
            duration: Duration::ZERO,
            checks: Vec::new(),
        };
        let mut details = Facts::default();
        details.add("url".to_owned(), "redis://:hunter2@db7".into());
        let said = Said::new("password=hunter2");
        Answer::new(public, vec![Standing::new(check, Some(said), details)])
    }

    #[test]
    fn what_could_not_be_masked_in_time_is_not_shown_yet_and_next_time_it_is() {
        let answer = unseen();
        let late = page(&answer.report_at_once(Instant::now()), true);
        assert!(late.contains("(not shown yet: there is too much to mask before the deadline)"));
        assert!(!late.contains("hunter2") && !late.contains("db7"), "{late}");
        let soon = Instant::now() + Duration::from_secs(60);
        let whole = page(&answer.report_at_once(soon), true);
        assert!(whole.contains("password=***") && whole.contains("redis://***@db7"));
        assert!(!whole.contains("not shown yet") && !whole.contains("hunter2"));
        // What is masked already takes no time.
        let again = page(&answer.report_at_once(Instant::now()), true);
        assert_eq!(again, whole);
    }
}
