//! Asks until the answer is as a test wants it: what real servers do takes its time.

use crate::doubles::{ms, of};
use bilten_health::{CheckReport, Health, Report, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Asks until the report is as wanted.
pub(crate) async fn report_until(health: &Health, wanted: impl Fn(&Report) -> bool) -> Arc<Report> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let report = health.check().await;
        if wanted(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "never: {}", report.to_json());
        sleep(ms(20)).await;
    }
}

/// Asks until the check is as wanted.
pub(crate) async fn until(
    health: &Health,
    name: &str,
    wanted: impl Fn(&CheckReport) -> bool,
) -> CheckReport {
    let report = report_until(health, |report| wanted(of(report, name))).await;
    of(&report, name).clone()
}

/// Asks until all checks together are as wanted.
pub(crate) async fn becomes(health: &Health, healthy: bool) {
    report_until(health, |report| report.healthy == healthy).await;
}

/// The same for an exact status.
pub(crate) async fn reaches(health: &Health, status: Status) -> Arc<Report> {
    report_until(health, |report| report.status == status).await
}
