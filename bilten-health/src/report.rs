//! What the service answers about itself.

use crate::status::Status;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The answer to one question about health. Its JSON is `{healthy, status, timestamp, duration_ms, checks}`.
///
/// ```
/// use bilten_health::{Health, Status, check};
///
/// # async fn run() -> Result<(), bilten_health::BuildError> {
/// let health = Health::builder()
///     .check(check("search", || async { Err::<(), _>("index is missing") }).non_critical())
///     .build()?;
/// let report = health.check().await;
/// assert!(report.healthy);
/// assert_eq!(report.status, Status::Degraded);
/// assert_eq!(report.checks[0].error.as_deref(), Some("index is missing"));
/// assert!(report.to_json().contains(r#""name":"search","healthy":false"#));
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run()).unwrap();
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Whether traffic should go here: `status` is `Up` or `Degraded`.
    pub healthy: bool,
    /// The aggregated status.
    pub status: Status,
    /// When this report was put together; RFC 3339 in UTC in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub timestamp: SystemTime,
    /// How long it took, waiting for checks included; `duration_ms` in JSON.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// One entry per check of the group, in the order of registration.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// The whole report as JSON, with names, errors and details: for the operator's eyes.
    #[must_use]
    pub fn to_json(&self) -> String {
        // No map with non-string keys and no failing serializer is reachable from here.
        serde_json::to_string(self).unwrap_or_else(|_| self.public_json())
    }

    /// What anyone may see: `{healthy, status, timestamp}`.
    #[must_use]
    pub fn public_json(&self) -> String {
        let time = humantime::format_rfc3339_millis(self.timestamp);
        format!(
            r#"{{"healthy":{},"status":"{}","timestamp":"{time}"}}"#,
            self.healthy, self.status
        )
    }
}

/// The state of one check within a [`Report`]. Example there.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The name it was registered under.
    #[serde(serialize_with = "text")]
    pub name: Arc<str>,
    /// `status` is `Up` or `Degraded`.
    pub healthy: bool,
    /// The reported status, thresholds applied.
    pub status: Status,
    /// Whether the service cannot work without it.
    pub critical: bool,
    /// How long the last run took.
    #[serde(rename = "duration_ms", serialize_with = "millis")]
    pub duration: Duration,
    /// How old the result was when the report was made.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
    /// When the last run ended; none when it never ran.
    #[serde(
        serialize_with = "rfc3339_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub checked_at: Option<SystemTime>,
    /// When it last succeeded.
    #[serde(
        serialize_with = "rfc3339_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_success: Option<SystemTime>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// How often its reported status has changed: a number that keeps growing is a flapping check.
    pub changes: u64,
    /// Why it is not up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The error's text with its causes; credentials masked, at most 1 KiB.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "text_option"
    )]
    pub error: Option<Arc<str>>,
    /// What the check itself had to say, such as a lag or a pool's size.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
    /// The tags it was registered with.
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "list")]
    pub tags: Arc<[&'static str]>,
}

/// Why a check is not up.
///
/// ```
/// use bilten_health::{Reason, Verdict};
///
/// let verdict = Verdict::degraded("12 of 12 connections in use").reason(Reason::Saturated);
/// # let _ = verdict;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The check ran and said so.
    Failed,
    /// It gave no answer within its timeout or the group's deadline.
    Timeout,
    /// An earlier run has not ended, so no new one was started.
    StillRunning,
    /// It panicked.
    Panicked,
    /// Its last result is older than its `max_staleness`.
    Stale,
    /// What it asks is alive, but has no room: a full pool, for instance.
    Saturated,
    /// What it asks is alive, but still loading its data.
    Loading,
    /// It has not run yet.
    NotRun,
}

fn millis<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Three decimals: a cached answer takes microseconds.
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    #[allow(clippy::cast_precision_loss)]
    serializer.serialize_f64(micros as f64 / 1000.0)
}

fn rfc3339<S: Serializer>(value: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*value))
}

fn rfc3339_option<S: Serializer>(
    value: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

fn text<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value)
}

fn text_option<S: Serializer>(value: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.as_deref().unwrap_or_default())
}

fn list<S: Serializer>(value: &[&'static str], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(value)
}
