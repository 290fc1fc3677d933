//! Every metric of this crate. Handles are made once per node, so install the recorder before the cluster is built.
//!
//! A recorder forgets nothing by itself: the counters of a node that left stay as they were. So a cluster names no more than
//! [`Names::MOST`] nodes, and sums up those that come after them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use crate::lag::Lag;

/// Why a node was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A read whose turn came to this replica.
    Read,
    /// A write, a lock, or SQL that is not understood.
    Write,
    /// A transaction.
    Transaction,
    /// A read that the caller sent here.
    Pinned,
    /// A read that no replica could serve.
    Fallback,
    /// The second try of a read.
    Retry,
    /// The same read on a second replica, because the first was slow.
    Hedge,
    /// A read on a replica that lags more than the cluster allows: what it shows may be older than that.
    Stale,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::Read,
        Self::Write,
        Self::Transaction,
        Self::Pinned,
        Self::Fallback,
        Self::Retry,
        Self::Hedge,
        Self::Stale,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Transaction => "transaction",
            Self::Pinned => "pinned",
            Self::Fallback => "fallback",
            Self::Retry => "retry",
            Self::Hedge => "hedge",
            Self::Stale => "stale",
        }
    }
}

/// The names under which a cluster's nodes are told; a name that comes back is the same.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<HashSet<Box<str>>>);

impl Names {
    /// Four times as many as can be there at once.
    const MOST: usize = 128;
    const OTHER: &str = "other";

    /// `None` when there are too many already.
    fn of(&self, node: &str) -> Option<String> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= Self::MOST && !names.contains(node) {
            tracing::warn!(
                node,
                most = Self::MOST,
                "too many nodes came and went: this one is counted as `other`, and its levels are not told; let nodes keep their ids"
            );
            return None;
        }
        names.insert(node.into());
        Some(node.to_owned())
    }
}

/// The handles of one node.
#[derive(Debug)]
pub(crate) struct NodeMetrics {
    statements: [[Counter; 3]; Reason::ALL.len()],
    seconds: Histogram,
    acquire_seconds: Histogram,
    in_flight: Gauge,
    up: Gauge,
    fenced: Gauge,
    ejections: Counter,
    learned: Counter,
    failovers: Counter,
    hedges_won: Counter,
    retries_refused: Counter,
    overloaded: Counter,
    lag_seconds: Gauge,
    lag_bytes: Gauge,
    pool: [Gauge; 2],
    /// The node left the cluster.
    gone: AtomicBool,
}

impl NodeMetrics {
    pub(crate) fn new(node: &str, names: &Names) -> Self {
        let named = names.of(node);
        let node = named.as_deref().unwrap_or(Names::OTHER);
        let statements = Reason::ALL.map(|reason| {
            ["ok", "error", "cancelled"].map(|outcome| {
                metrics::counter!("bilten_db_statements_total",
                    "node" => node.to_owned(), "reason" => reason.name(), "outcome" => outcome)
            })
        });
        let counter = |name: &'static str| metrics::counter!(name, "node" => node.to_owned());
        let histogram = |name: &'static str| metrics::histogram!(name, "node" => node.to_owned());
        // Levels of several nodes are no sum.
        let gauge = |name: &'static str| match &named {
            Some(node) => metrics::gauge!(name, "node" => node.clone()),
            None => Gauge::noop(),
        };
        let pool = |state: &'static str| match &named {
            Some(node) => {
                metrics::gauge!("bilten_db_pool_connections", "node" => node.clone(), "state" => state)
            }
            None => Gauge::noop(),
        };
        let up = gauge("bilten_db_node_up");
        Self {
            statements,
            seconds: histogram("bilten_db_statement_seconds"),
            acquire_seconds: histogram("bilten_db_acquire_seconds"),
            // Counted up and down, so here they are.
            in_flight: metrics::gauge!("bilten_db_in_flight", "node" => node.to_owned()),
            up,
            fenced: gauge("bilten_db_node_fenced"),
            ejections: counter("bilten_db_ejections_total"),
            failovers: counter("bilten_db_failovers_total"),
            learned: counter("bilten_db_misread_total"),
            hedges_won: counter("bilten_db_hedges_won_total"),
            retries_refused: counter("bilten_db_retries_refused_total"),
            overloaded: counter("bilten_db_overloaded_total"),
            lag_seconds: gauge("bilten_db_lag_seconds"),
            lag_bytes: gauge("bilten_db_lag_bytes"),
            pool: ["used", "idle"].map(pool),
            gone: AtomicBool::new(false),
        }
    }

    pub(crate) fn acquire_seconds(&self) -> Histogram {
        self.acquire_seconds.clone()
    }

    /// Counted up and down where statements begin and end.
    pub(crate) fn in_flight(&self) -> Gauge {
        self.in_flight.clone()
    }

    pub(crate) fn finished(&self, reason: Reason, ok: bool, took: Duration) {
        self.statements[reason as usize][usize::from(!ok)].increment(1);
        self.seconds.record(took);
    }

    /// Nobody waited for the end: a deadline passed, the caller left, or another node answered a hedged read.
    pub(crate) fn cancelled(&self, reason: Reason) {
        self.statements[reason as usize][2].increment(1);
    }

    pub(crate) fn ejected(&self) {
        self.ejections.increment(1);
        self.set(&self.up, 0.0);
    }

    /// It waits for its first good probe.
    pub(crate) fn held(&self) {
        self.set(&self.up, 0.0);
    }

    pub(crate) fn readmitted(&self) {
        self.set(&self.up, 1.0);
    }

    /// Whether it takes writes although another node is the primary.
    pub(crate) fn fenced(&self, is_fenced: bool) {
        self.set(&self.fenced, f64::from(u8::from(is_fenced)));
    }

    /// The node left the cluster: its levels are no numbers any more, so that no alert waits for it.
    pub(crate) fn gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
        let [used, unused] = &self.pool;
        let lag = [&self.lag_seconds, &self.lag_bytes];
        for level in [&self.up, &self.fenced, used, unused]
            .into_iter()
            .chain(lag)
        {
            level.set(f64::NAN);
        }
    }

    fn set(&self, level: &Gauge, value: f64) {
        if !self.gone.load(Ordering::SeqCst) {
            level.set(value);
            // It may have left just now.
            if self.gone.load(Ordering::SeqCst) {
                level.set(f64::NAN);
            }
        }
    }

    pub(crate) fn promoted(&self) {
        self.failovers.increment(1);
    }

    pub(crate) fn misread(&self) {
        self.learned.increment(1);
    }

    pub(crate) fn hedge_won(&self) {
        self.hedges_won.increment(1);
    }

    pub(crate) fn retry_refused(&self) {
        self.retries_refused.increment(1);
    }

    pub(crate) fn overloaded(&self) {
        self.overloaded.increment(1);
    }

    /// What is not known is not a number: zero would say that there is no lag.
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub(crate) fn lag(&self, lag: Option<Lag>) {
        let (seconds, bytes) = lag.map_or((f64::NAN, f64::NAN), |lag| {
            (lag.time.as_secs_f64(), lag.bytes as f64)
        });
        self.set(&self.lag_seconds, seconds);
        self.set(&self.lag_bytes, bytes);
    }

    pub(crate) fn pool(&self, open: u32, idle: u32) {
        let [used, unused] = &self.pool;
        self.set(used, f64::from(open.saturating_sub(idle)));
        self.set(unused, f64::from(idle));
    }
}

/// The handles of a discovery.
#[derive(Debug)]
pub(crate) struct DiscoveryMetrics {
    answers: Counter,
    failures: Counter,
    refused: Gauge,
}

impl DiscoveryMetrics {
    pub(crate) fn new() -> Self {
        let [answers, failures] = ["ok", "error"]
            .map(|outcome| metrics::counter!("bilten_db_discoveries_total", "outcome" => outcome));
        Self {
            answers,
            failures,
            refused: metrics::gauge!("bilten_db_discovery_refused"),
        }
    }

    /// `refused` counts the replicas of the answer that could not be added.
    pub(crate) fn answered(&self, refused: usize) {
        self.answers.increment(1);
        self.refused
            .set(f64::from(u32::try_from(refused).unwrap_or(u32::MAX)));
    }

    pub(crate) fn missed(&self) {
        self.failures.increment(1);
    }
}

/// Says what each metric means, for recorders that show it.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "bilten_db_statements_total",
        "Statements by node, reason of the choice, and outcome; cancelled is what nobody waited for to the end."
    );
    metrics::describe_histogram!(
        "bilten_db_statement_seconds",
        metrics::Unit::Seconds,
        "From the choice of the node to its answer, waiting for a connection included."
    );
    metrics::describe_histogram!(
        "bilten_db_acquire_seconds",
        metrics::Unit::Seconds,
        "Waiting for a connection of the node's pool."
    );
    metrics::describe_gauge!(
        "bilten_db_in_flight",
        "Statements running or waiting on the node."
    );
    metrics::describe_gauge!(
        "bilten_db_node_up",
        "1 when the node is in rotation, 0 when it is ejected; not a number when it left the cluster."
    );
    metrics::describe_gauge!(
        "bilten_db_node_fenced",
        "1 when the node takes writes although another one is the primary, 0 when not, as it said last; not a number when it left the cluster."
    );
    metrics::describe_counter!(
        "bilten_db_ejections_total",
        "How often the node was taken out of rotation."
    );
    metrics::describe_counter!(
        "bilten_db_misread_total",
        "Reads that turned out to write and ran on the primary."
    );
    metrics::describe_counter!(
        "bilten_db_failovers_total",
        "How often the node became the primary in place of another."
    );
    metrics::describe_counter!(
        "bilten_db_hedges_won_total",
        "Hedged reads that this node answered before the first one."
    );
    metrics::describe_counter!(
        "bilten_db_retries_refused_total",
        "Reads that failed on the node and were not tried again, because the retry budget was spent."
    );
    metrics::describe_counter!(
        "bilten_db_overloaded_total",
        "Reads refused because the primary already served as many in place of replicas as it may."
    );
    metrics::describe_gauge!(
        "bilten_db_lag_seconds",
        metrics::Unit::Seconds,
        "Age of the newest state of the primary that the replica has; not a number when it is not known."
    );
    metrics::describe_gauge!(
        "bilten_db_lag_bytes",
        metrics::Unit::Bytes,
        "What the replica has not replayed of the primary's log; not a number when it is not known."
    );
    metrics::describe_gauge!(
        "bilten_db_pool_connections",
        "Connections of the node's pool by state, as of the last probe."
    );
    metrics::describe_counter!(
        "bilten_db_discoveries_total",
        "Questions for the replicas by outcome; an error is also a panic, no answer in time, and an answer that names none."
    );
    metrics::describe_gauge!(
        "bilten_db_discovery_refused",
        "Replicas of the last answer that could not be added."
    );
}
