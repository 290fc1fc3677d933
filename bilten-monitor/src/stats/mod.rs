//! Percentiles kept in the process, for a service's own pages.

#[cfg(any(feature = "dashboard", feature = "runtime"))]
mod busy;
mod histogram;
mod recent;
#[cfg(feature = "dashboard")]
mod seen;

use std::time::Duration;

#[cfg(any(feature = "dashboard", feature = "runtime"))]
pub(crate) use busy::Busy;
pub(crate) use recent::Recent;
#[cfg(feature = "dashboard")]
pub(crate) use {
    histogram::{Counts, Histogram},
    seen::Seen,
};

use crate::tally::Losses;

/// What a name belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Query,
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "only the HTTP layer has routes")
    )]
    Request,
}

/// What a monitor has seen, at one moment. Made by [`Monitor::snapshot`](crate::Monitor::snapshot).
///
/// ```
/// use bilten_monitor::Monitor;
///
/// let monitor = Monitor::builder().build()?;
/// monitor.query("answer").run_sync(|| Ok::<_, std::fmt::Error>(42)).ok();
/// let snapshot = monitor.snapshot();
/// assert_eq!(snapshot.queries[0].name, "answer");
/// assert_eq!(snapshot.queries[0].count, 1);
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Query names, the one with the most observations first.
    pub queries: Vec<Stats>,
    /// Routes, likewise; routes of the same name in two layers are two entries.
    pub requests: Vec<Stats>,
    /// What was not kept or not delivered.
    pub losses: Losses,
}

/// One name's numbers. See [`Snapshot`] for an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The query's name or the route.
    pub name: String,
    /// Observations since the monitor was built.
    pub count: u64,
    /// Those that ended in an error or a panic.
    pub errors: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Under way at this moment. Of a query that is [sampled](crate::MonitorBuilder::sample_query) an estimate, as the
    /// counts are: each one that is measured stands for all of its kind.
    pub in_flight: u64,
    /// Percentiles of the last one to two minutes.
    pub recent: Percentiles,
}

/// Durations that a share of recent operations stayed within, at most 6.3 % above the true one; below 16 µs at
/// most one microsecond above it.
///
/// See [`Snapshot`] for where they come from.
///
/// ```
/// use bilten_monitor::stats::Percentiles;
///
/// assert_eq!(Percentiles::default().count, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Percentiles {
    /// How many operations there were.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50: Duration,
    /// 95 of 100 took at most this long.
    pub p95: Duration,
    /// 99 of 100 took at most this long.
    pub p99: Duration,
    /// The longest one.
    pub max: Duration,
}
