//! The page for people: one file, no script, nothing loaded from elsewhere.

use crate::report::{CheckReport, Report};
use crate::status::Status;
use std::fmt::Write;

/// What the page may load: its own style, nothing else.
pub(super) const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

const STYLE: &str = "
:root{color-scheme:light dark;--ok:#1a7f37;--warn:#9a6700;--bad:#cf222e;--line:#8884}
@media(prefers-color-scheme:dark){:root{--ok:#3fb950;--warn:#d29922;--bad:#f85149}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.5rem;margin:0}h1::before,td:first-child::before{content:'\\25cf';margin-right:.5em}
.up::before,.up td:first-child::before{color:var(--ok)}
.degraded::before,.degraded td:first-child::before{color:var(--warn)}
.unknown::before,.down::before,.shutting_down::before,.unknown td:first-child::before,.down td:first-child::before{color:var(--bad)}
p{margin:.25rem 0 1.5rem;opacity:.7}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-top:1px solid var(--line);vertical-align:top}
th{border:0;font-weight:600;opacity:.7}small{opacity:.7}";

/// With `details`, one row per check; without, the status alone.
pub(super) fn page(report: &Report, details: bool) -> String {
    let status = report.status;
    let mut page = String::with_capacity(4096);
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>\
         <meta http-equiv=refresh content=5><title>{word}</title><style>{STYLE}</style>\
         <h1 class={status}>{word}</h1><p>{time}, new every 5 seconds</p>",
        word = word(status),
        time = humantime::format_rfc3339_seconds(report.timestamp),
    );
    if details && !report.checks.is_empty() {
        page.push_str("<div class=wide><table><tr><th>Check<th>Status<th>Took<th>Age<th>Failures in a row<th>Says");
        report.checks.iter().for_each(|check| row(&mut page, check));
        page.push_str("</table></div>");
    }
    page.push('\n');
    page
}

fn row(page: &mut String, check: &CheckReport) {
    let part = if check.critical {
        ""
    } else {
        " <small>not critical</small>"
    };
    let error = check.error.as_deref().unwrap_or_default();
    let details = if check.details.is_empty() {
        String::new()
    } else {
        serde_json::to_string(&check.details).unwrap_or_default()
    };
    let _ = write!(
        page,
        "<tr class={}><td>{}{part}<td>{}<td>{:.1} ms<td>{:.1} s<td>{}<td>{} <small>{}</small>",
        check.status,
        escape(&check.name),
        word(check.status),
        check.duration.as_secs_f64() * 1000.0,
        check.age.as_secs_f64(),
        check.consecutive_failures,
        escape(error),
        escape(&details),
    );
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
    use super::escape;

    #[test]
    fn nothing_that_a_check_says_becomes_markup() {
        assert_eq!(
            escape(r#"<b a="x" c='y'>&"#),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;"
        );
    }
}
