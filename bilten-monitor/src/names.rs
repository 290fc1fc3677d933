//! Every metric this crate emits: names, units and labels in one table.

/// Which names the metrics carry.
///
/// ```
/// use bilten_monitor::{Monitor, Naming};
///
/// // During a migration both families are written; each observation then costs one record more.
/// let monitor = Monitor::builder().naming(Naming::Both).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// OpenTelemetry's semantic conventions: `http.server.request.duration`, `db.client.operation.duration`.
    #[default]
    OpenTelemetry,
    /// The short names: `http_request_duration{method,path,statusCode}`, `database_query_duration{query,status}`.
    Short,
    /// Both, for the time of a migration.
    Both,
}

impl Naming {
    pub(crate) fn families(self) -> &'static [Family] {
        match self {
            Self::OpenTelemetry => &[Family::OpenTelemetry],
            Self::Short => &[Family::Short],
            Self::Both => &[Family::OpenTelemetry, Family::Short],
        }
    }
}

/// One of the two sets of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    OpenTelemetry,
    Short,
}

/// A name in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) otel: &'static str,
    pub(crate) short: &'static str,
}

impl Pair {
    pub(crate) const fn of(self, family: Family) -> &'static str {
        match family {
            Family::OpenTelemetry => self.otel,
            Family::Short => self.short,
        }
    }
}

const fn pair(otel: &'static str, short: &'static str) -> Pair {
    Pair { otel, short }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric as the table knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    pub(crate) name: Pair,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<metrics::Unit>,
    pub(crate) help: &'static str,
    /// Empty for what is no histogram.
    #[cfg_attr(
        all(not(test), not(feature = "prometheus")),
        expect(dead_code, reason = "only the exporter reads them")
    )]
    pub(crate) buckets: &'static [f64],
}

/// OpenTelemetry's advice for HTTP durations, in seconds.
const HTTP_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// OpenTelemetry's advice for database durations, in seconds.
const QUERY_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Body sizes in bytes, from an empty body to 64 MiB.
const BYTES: &[f64] = &[
    0.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    8_388_608.0,
    67_108_864.0,
];
/// Rows returned by one statement.
const ROWS: &[f64] = &[
    0.0, 1.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0, 100_000.0,
];

pub(crate) const QUERY_DURATION: Spec = Spec {
    name: pair("db.client.operation.duration", "database_query_duration"),
    kind: Kind::Histogram,
    unit: Some(metrics::Unit::Seconds),
    help: "Time of a database operation, until its result, its error or its cancellation.",
    buckets: QUERY_SECONDS,
};
pub(crate) const QUERY_ACTIVE: Spec = Spec {
    name: pair("db.client.active_operations", "database_queries_active"),
    kind: Kind::Gauge,
    unit: None,
    help: "Database operations under way.",
    buckets: &[],
};
pub(crate) const QUERY_ROWS: Spec = Spec {
    name: pair("db.client.response.returned_rows", "database_query_rows"),
    kind: Kind::Histogram,
    unit: None,
    help: "Rows returned by a database operation.",
    buckets: ROWS,
};
pub(crate) const REQUEST_DURATION: Spec = Spec {
    name: pair("http.server.request.duration", "http_request_duration"),
    kind: Kind::Histogram,
    unit: Some(metrics::Unit::Seconds),
    help: "Time of a request, until the last byte of its response.",
    buckets: HTTP_SECONDS,
};
pub(crate) const REQUEST_FIRST_BYTE: Spec = Spec {
    name: pair("http.server.time_to_first_byte", "http_time_to_first_byte"),
    kind: Kind::Histogram,
    unit: Some(metrics::Unit::Seconds),
    help: "Time of a request until the head of its response.",
    buckets: HTTP_SECONDS,
};
pub(crate) const REQUESTS_ACTIVE: Spec = Spec {
    name: pair("http.server.active_requests", "http_requests_active"),
    kind: Kind::Gauge,
    unit: None,
    help: "Requests under way, bodies included.",
    buckets: &[],
};
pub(crate) const REQUEST_SIZE: Spec = Spec {
    name: pair("http.server.request.body.size", "http_request_size"),
    kind: Kind::Histogram,
    unit: Some(metrics::Unit::Bytes),
    help: "Size of a request body that declares its length.",
    buckets: BYTES,
};
pub(crate) const RESPONSE_SIZE: Spec = Spec {
    name: pair("http.server.response.body.size", "http_response_size"),
    kind: Kind::Histogram,
    unit: Some(metrics::Unit::Bytes),
    help: "Bytes of response body that were sent.",
    buckets: BYTES,
};
pub(crate) const OVERFLOWED: Spec = own_counter(
    "bilten.monitor.overflowed",
    "bilten_monitor_overflowed",
    "Observations counted under `other` because a label had too many values.",
);
pub(crate) const ALERTS_SUPPRESSED: Spec = own_counter(
    "bilten.monitor.alerts_suppressed",
    "bilten_monitor_alerts_suppressed",
    "Alerts held back by the rate limit.",
);
pub(crate) const ALERTS_DROPPED: Spec = own_counter(
    "bilten.monitor.alerts_dropped",
    "bilten_monitor_alerts_dropped",
    "Alerts lost because a sink's queue was full.",
);
pub(crate) const SINK_FAILURES: Spec = own_counter(
    "bilten.monitor.sink_failures",
    "bilten_monitor_sink_failures",
    "Deliveries that a sink refused or panicked on.",
);
pub(crate) const SAMPLES_DROPPED: Spec = own_counter(
    "bilten.monitor.samples_dropped",
    "bilten_monitor_samples_dropped",
    "Samples lost because a metric sink's queue was full.",
);
pub(crate) const REJECTED: Spec = own_counter(
    "bilten.monitor.rejected",
    "bilten_monitor_rejected",
    "Values and names that were refused: NaN, infinite, negative, colliding.",
);

const fn own_counter(otel: &'static str, short: &'static str, help: &'static str) -> Spec {
    Spec {
        name: pair(otel, short),
        kind: Kind::Counter,
        unit: None,
        help,
        buckets: &[],
    }
}

/// Label names.
pub(crate) mod label {
    use super::{Pair, pair};

    pub(crate) const QUERY: Pair = pair("db.query.summary", "query");
    pub(crate) const OUTCOME: Pair = pair("outcome", "status");
    pub(crate) const ERROR: Pair = pair("error.type", "error");
    #[cfg(feature = "http")]
    pub(crate) const ROUTE: Pair = pair("http.route", "path");
    #[cfg(feature = "http")]
    pub(crate) const METHOD: Pair = pair("http.request.method", "method");
    #[cfg(feature = "http")]
    pub(crate) const STATUS: Pair = pair("http.response.status_code", "statusCode");
    #[cfg(feature = "http")]
    pub(crate) const SCHEME: Pair = pair("url.scheme", "scheme");
    /// The HTTP outcome keeps its name: `status` would be read as the status code.
    #[cfg(feature = "http")]
    pub(crate) const HTTP_OUTCOME: Pair = pair("outcome", "outcome");
}

/// What overflows a bounded label is counted under this value.
pub(crate) const OTHER: &str = "other";
/// A query without a name.
pub(crate) const UNNAMED: &str = "unnamed";

/// The whole table, in the order of the documentation.
pub(crate) const ALL: &[Spec] = &[
    QUERY_DURATION,
    QUERY_ACTIVE,
    QUERY_ROWS,
    REQUEST_DURATION,
    REQUEST_FIRST_BYTE,
    REQUESTS_ACTIVE,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    OVERFLOWED,
    ALERTS_SUPPRESSED,
    ALERTS_DROPPED,
    SINK_FAILURES,
    SAMPLES_DROPPED,
    REJECTED,
];

/// A metric name as Prometheus writes it.
pub(crate) fn exported(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_metrics_are_exported_under_one_name() {
        let mut seen = std::collections::HashSet::new();
        for spec in ALL {
            for name in [spec.name.otel, spec.name.short] {
                let exported = exported(name);
                if spec.kind == Kind::Counter && seen.contains(&exported) {
                    assert_eq!(super::exported(spec.name.otel), spec.name.short);
                    continue;
                }
                assert!(seen.insert(exported), "{name} is there twice");
            }
        }
    }

    #[test]
    fn every_histogram_has_rising_buckets_and_nothing_else_has_any() {
        for spec in ALL {
            assert_eq!(
                spec.buckets.is_empty(),
                spec.kind != Kind::Histogram,
                "{}",
                spec.name.otel
            );
            assert!(
                spec.buckets.windows(2).all(|pair| pair[0] < pair[1]),
                "{}",
                spec.name.otel
            );
        }
    }
}
