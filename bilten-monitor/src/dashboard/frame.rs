//! What goes to the page, as JSON.

use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::history::{History, Point};
use super::number::millis;
use super::parts::{Cache, Check, Node};
use super::ring::Ring;
use crate::alert::Alert;
use crate::outcome::Outcome;
use crate::stats::{Busy, Stats};
use crate::tally::Losses;

/// Everything, for a page that has nothing yet.
#[derive(Debug, Serialize)]
pub(super) struct Full<'a> {
    pub(super) title: &'a str,
    pub(super) history: &'a History,
    pub(super) now: &'a Now,
    /// Operations a second of the last minute, for the rows of requests and of queries in their order.
    pub(super) trends: [Vec<Option<&'a Ring<f32>>>; 2],
    pub(super) alerts: Vec<AlertFrame<'a>>,
}

/// One more second.
#[derive(Debug, Serialize)]
pub(super) struct Tick<'a> {
    pub(super) point: Point,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) coarse: Option<Point>,
    pub(super) now: &'a Now,
}

/// Everything that has no history.
#[derive(Debug, Default, Serialize)]
pub(super) struct Now {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    /// Seconds since the page's history began.
    pub(super) up: u64,
    pub(super) requests: Table,
    pub(super) queries: Table,
    pub(super) caches: Vec<Cache>,
    pub(super) nodes: Vec<Node>,
    pub(super) checks: Vec<Check>,
    /// The runtime that was last given to be watched.
    pub(super) runtime: Option<Busy>,
    pub(super) losses: Vec<(&'static str, u64)>,
}

/// Routes or queries.
#[derive(Debug, Default, Serialize)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Names that are not among the rows.
    pub(super) more: usize,
    pub(super) active: u64,
}

/// One route or query: counts since the start, times in milliseconds of the last one to two minutes.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(skip)]
    pub(super) source: usize,
    pub(super) name: String,
    pub(super) count: u64,
    errors: u64,
    cancelled: u64,
    pub(super) active: u64,
    rate: f32,
    recent: u64,
    p50: f32,
    p95: f32,
    p99: f32,
    max: f32,
}

impl Row {
    pub(super) fn new(source: usize, stats: Stats, rate: f32) -> Self {
        let recent = stats.recent;
        Self {
            source,
            name: stats.name,
            count: stats.count,
            errors: stats.errors,
            cancelled: stats.cancelled,
            active: stats.in_flight,
            rate,
            recent: recent.count,
            p50: millis(recent.p50),
            p95: millis(recent.p95),
            p99: millis(recent.p99),
            max: millis(recent.max),
        }
    }
}

/// What the monitor could not keep or deliver, in words; nothing when it lost nothing.
pub(super) fn losses(losses: &Losses, unshown_series: u64) -> Vec<(&'static str, u64)> {
    let all = [
        ("counted under “other”", losses.overflowed),
        ("alerts held back", losses.alerts_suppressed),
        ("alerts dropped", losses.alerts_dropped),
        ("deliveries failed", losses.sink_failures),
        ("samples dropped", losses.samples_dropped),
        ("values refused", losses.rejected),
        ("values without a recorder", losses.unrecorded),
        ("series not shown", unshown_series),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// An alert. Its facts may tell of a user, so they are there only for whom the authoriser lets in.
#[derive(Debug, Serialize)]
pub(super) struct AlertFrame<'a> {
    kind: &'static str,
    subject: &'a str,
    at: u64,
    duration: f32,
    threshold: f32,
    worst: f32,
    suppressed: u64,
    recovered: bool,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<&'a [(&'static str, String)]>,
}

impl<'a> AlertFrame<'a> {
    pub(super) fn new(alert: &'a Alert, details: bool) -> Self {
        let since = alert.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            kind: alert.kind.label(),
            subject: &alert.subject,
            at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            duration: millis(alert.duration),
            threshold: millis(alert.threshold),
            worst: millis(alert.worst),
            suppressed: alert.suppressed,
            recovered: alert.recovered,
            outcome: alert.outcome.label(),
            error: match alert.outcome {
                Outcome::Error(kind) => Some(kind),
                _ => None,
            },
            facts: details.then_some(alert.facts.as_slice()),
        }
    }
}
