use super::{Alert, AlertKind, AlertSink, Refused};

/// Writes alerts as `tracing` warnings, target `bilten_monitor::alert`. The default sink.
///
/// ```
/// use bilten_monitor::{Monitor, alert::TracingSink};
///
/// let monitor = Monitor::builder().alert_sink(TracingSink).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it has no fields and is written as a value"
)]
pub struct TracingSink;

impl AlertSink for TracingSink {
    fn deliver(&self, alert: &Alert) -> Result<(), Refused> {
        let facts = alert
            .facts
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect::<Vec<_>>()
            .join(" ");
        if alert.recovered {
            tracing::info!(
                target: "bilten_monitor::alert",
                kind = alert.kind.label(),
                subject = %alert.subject,
                worst_ms = millis(alert.worst),
                suppressed = alert.suppressed,
                "recovered: {}", alert.kind.label(),
            );
            return Ok(());
        }
        match alert.kind {
            AlertKind::TooManyLabels => tracing::warn!(
                target: "bilten_monitor::alert",
                kind = alert.kind.label(),
                subject = %alert.subject,
                suppressed = alert.suppressed,
                trace_id = alert.trace_id.map(tracing::field::display),
                facts,
                "too many values of one label: further ones are counted under `other`",
            ),
            AlertKind::SlowQuery
            | AlertKind::SlowRequest
            | AlertKind::StillRunning
            | AlertKind::NPlusOne
            | AlertKind::BudgetBurns
            | AlertKind::TooManyAlerts => tracing::warn!(
                target: "bilten_monitor::alert",
                kind = alert.kind.label(),
                subject = %alert.subject,
                duration_ms = millis(alert.duration),
                threshold_ms = millis(alert.threshold),
                worst_ms = millis(alert.worst),
                outcome = alert.outcome.label(),
                error = alert.outcome.error_type(),
                suppressed = alert.suppressed,
                trace_id = alert.trace_id.map(tracing::field::display),
                facts,
                "{}", alert.kind.label(),
            ),
        }
        Ok(())
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
