//! The answer to a question before anybody has seen more of it than its status.

use crate::report::{CheckReport, Report};
use crate::said::{Facts, Said};
use std::sync::{Arc, OnceLock};
use tokio::task::yield_now;
use tokio::time::Instant;

/// What stands for a text that could not be masked before the deadline.
const NOT_YET: &str = "(not shown yet: there is too much to mask before the deadline)";

/// How one check stands, with what it said as it came.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Without error and details.
    pub(crate) report: CheckReport,
    pub(crate) error: Option<Said>,
    pub(crate) details: Facts,
}

impl Standing {
    pub(crate) const fn new(report: CheckReport, error: Option<Said>, details: Facts) -> Self {
        Self {
            report,
            error,
            details,
        }
    }

    pub(crate) fn is_masked(&self) -> bool {
        self.error.as_ref().is_none_or(Said::is_masked) && self.details.is_masked()
    }

    /// Masks what it shows; beyond the deadline only what is masked already is shown.
    fn shown(&self, deadline: Instant) -> (CheckReport, bool) {
        let mut report = self.report.clone();
        let whole = self.is_masked() || Instant::now() < deadline;
        if whole {
            report.error = self.error.as_ref().map(Said::shown);
            report.details = self.details.shown();
        } else {
            report.error = Some(NOT_YET.into());
        }
        (report, whole)
    }
}

/// What is known of a group. What the checks said is masked when somebody asks for the report, and not for its status.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The report without its checks: what anybody may see.
    pub(crate) public: Report,
    pub(crate) standings: Vec<Standing>,
    report: OnceLock<Arc<Report>>,
}

impl Answer {
    pub(crate) const fn new(public: Report, standings: Vec<Standing>) -> Self {
        Self {
            public,
            standings,
            report: OnceLock::new(),
        }
    }

    /// The whole report. Masks one text after the other, and lets other tasks run between two of them.
    pub(crate) async fn report(&self, deadline: Instant) -> Arc<Report> {
        for standing in &self.standings {
            if self.report.get().is_some() || Instant::now() >= deadline {
                break;
            }
            if !standing.is_masked() {
                standing.shown(deadline);
                yield_now().await;
            }
        }
        self.report_at_once(deadline)
    }

    /// The same without a pause.
    pub(crate) fn report_at_once(&self, deadline: Instant) -> Arc<Report> {
        if let Some(report) = self.report.get() {
            return Arc::clone(report);
        }
        let shown = self
            .standings
            .iter()
            .map(|standing| standing.shown(deadline));
        let (checks, whole): (Vec<_>, Vec<_>) = shown.unzip();
        let report = Arc::new(Report {
            checks,
            ..self.public.clone()
        });
        if whole.iter().all(|whole| *whole) {
            // Whoever was first has the same.
            return Arc::clone(self.report.get_or_init(|| report));
        }
        report
    }
}
