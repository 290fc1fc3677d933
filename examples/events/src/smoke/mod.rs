//! `--smoke`: fetches every URL of a running service over HTTP and says what was right and what was not.

mod checks;
pub mod client;

use std::io::Write;
use std::time::Instant;

use client::{Complaint, Fetcher};

/// Checks every URL of the service under `base`, one line each to `out`; the number of complaints.
pub async fn run(base: &str, with_redis: bool, out: &mut impl Write) -> usize {
    let fetch = Fetcher::new(base.to_owned());
    let mut report = Report {
        out,
        checks: 0,
        complaints: 0,
    };
    for path in ["/livez", "/readyz", "/startupz"] {
        report.say(path, checks::probe(&fetch, path)).await;
    }
    report
        .say(
            "/healthz",
            checks::health(&fetch, health_checks(with_redis)),
        )
        .await;
    report
        .say("GET /api/v1/events, twice", checks::list_twice(&fetch))
        .await;
    report
        .say("GET /api/v1/events?q&city", checks::search(&fetch))
        .await;
    report
        .say(
            "GET /api/v1/events/42, twice",
            checks::detail(&fetch, "/api/v1/events/42"),
        )
        .await;
    report
        .say("GET /api/v1/events/42/summary", checks::summary(&fetch))
        .await;
    report
        .say("POST, PATCH, tickets", checks::create_and_change(&fetch))
        .await;
    for case in checks::refusals() {
        let name = format!(
            "{} {} {}",
            case.method,
            case.path,
            case.body.unwrap_or_default()
        );
        report
            .say(name.trim_end(), checks::refused(&fetch, &case))
            .await;
    }
    report.say("/metrics", checks::metrics(&fetch)).await;
    report.close()
}

struct Report<'a, W> {
    out: &'a mut W,
    checks: usize,
    complaints: usize,
}

impl<W: Write> Report<'_, W> {
    async fn say(&mut self, name: &str, check: impl Future<Output = Result<String, Complaint>>) {
        let begun = Instant::now();
        let verdict = check.await;
        let millis = begun.elapsed().as_millis();
        self.checks += 1;
        let line = match verdict {
            Ok(seen) => format!("ok     {name:<32} {seen} ({millis} ms)"),
            Err(complaint) => {
                self.complaints += 1;
                format!("WRONG  {name:<32} {complaint} ({millis} ms)")
            }
        };
        self.line(&line);
    }

    fn close(mut self) -> usize {
        let (checks, complaints) = (self.checks, self.complaints);
        self.line(&match complaints {
            0 => format!("smoke: all {checks} checks are fine"),
            _ => format!("smoke: {complaints} of {checks} checks failed"),
        });
        complaints
    }

    /// Somebody who closed the pipe still gets the exit code.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
    }
}

fn health_checks(with_redis: bool) -> &'static [&'static str] {
    if with_redis {
        &["database", "primary", "cache", "redis"]
    } else {
        &["database", "primary", "cache"]
    }
}
