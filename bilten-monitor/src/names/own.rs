//! The metrics that this crate emits.

use super::label::{ERROR, HTTP_OUTCOME, KIND, METHOD, OUTCOME, QUERY, ROUTE, SCHEME, STATUS};
use super::spec::{counter, gauge, histogram};
use super::{Pair, Spec, pair, same};

/// OpenTelemetry's advice for HTTP durations, in seconds.
const HTTP_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// OpenTelemetry's advice for database durations, in seconds.
pub(super) const QUERY_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
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

const HEAD: &[Pair] = &[ROUTE, METHOD, SCHEME, STATUS];
const END: &[Pair] = &[ROUTE, METHOD, SCHEME, STATUS, HTTP_OUTCOME, ERROR];

pub(crate) const QUERY_DURATION: Spec = histogram(
    pair("db.client.operation.duration", "database_query_duration"),
    &[QUERY, OUTCOME, ERROR],
    QUERY_SECONDS,
    "Time of a database operation, until its result, its error or its cancellation.",
)
.seconds();
pub(crate) const QUERY_ACTIVE: Spec = gauge(
    pair("db.client.active_operations", "database_queries_active"),
    &[QUERY],
    "Database operations under way.",
);
pub(crate) const QUERY_ROWS: Spec = histogram(
    pair("db.client.response.returned_rows", "database_query_rows"),
    &[QUERY],
    ROWS,
    "Rows returned by a database operation.",
);
pub(crate) const REQUEST_DURATION: Spec = histogram(
    pair("http.server.request.duration", "http_request_duration"),
    END,
    HTTP_SECONDS,
    "Time of a request, until the last byte of its response.",
)
.seconds();
pub(crate) const REQUEST_FIRST_BYTE: Spec = histogram(
    pair("http.server.time_to_first_byte", "http_time_to_first_byte"),
    HEAD,
    HTTP_SECONDS,
    "Time of a request until the head of its response.",
)
.seconds();
pub(crate) const REQUESTS_ACTIVE: Spec = gauge(
    pair("http.server.active_requests", "http_requests_active"),
    &[METHOD, SCHEME],
    "Requests under way, bodies included.",
);
pub(crate) const REQUEST_SIZE: Spec = histogram(
    pair("http.server.request.body.size", "http_request_size"),
    HEAD,
    BYTES,
    "Declared length of a request body, where so much can have come by the head of the response.",
)
.bytes();
pub(crate) const RESPONSE_SIZE: Spec = histogram(
    pair("http.server.response.body.size", "http_response_size"),
    END,
    BYTES,
    "Bytes of response body that were sent.",
)
.bytes();
pub(crate) const RUNTIME_WORKERS: Spec = gauge(
    same("bilten.runtime.workers"),
    &[],
    "Worker threads of the tokio runtime.",
);
pub(crate) const RUNTIME_TASKS: Spec = gauge(
    same("bilten.runtime.tasks"),
    &[],
    "Tasks of the tokio runtime that have not ended.",
);
pub(crate) const RUNTIME_QUEUE: Spec = gauge(
    same("bilten.runtime.queue"),
    &[],
    "Tasks that wait in the runtime's global queue.",
);
pub(crate) const RUNTIME_BUSY: Spec = gauge(
    same("bilten.runtime.busy_ratio"),
    &[],
    "Share of the last period that the workers were busy, from 0 to 1.",
);
pub(crate) const RUNTIME_BUSIEST: Spec = gauge(
    same("bilten.runtime.busiest_ratio"),
    &[],
    "The same share of the busiest single worker.",
);
pub(crate) const RUNTIME_DELAY: Spec = histogram(
    same("bilten.runtime.schedule_delay"),
    &[],
    QUERY_SECONDS,
    "Time that a new task waits for its turn on the tokio runtime.",
)
.seconds();
pub(crate) const ALERTS: Spec = counter(
    same("bilten.monitor.alerts"),
    &[KIND],
    "Alerts that passed the rate limit, by kind.",
);
pub(crate) const OVERFLOWED: Spec = counter(
    same("bilten.monitor.overflowed"),
    &[],
    "Observations counted under `other` because a label had too many values.",
);
pub(crate) const ALERTS_SUPPRESSED: Spec = counter(
    same("bilten.monitor.alerts_suppressed"),
    &[],
    "Alerts held back by the rate limit.",
);
pub(crate) const ALERTS_DROPPED: Spec = counter(
    same("bilten.monitor.alerts_dropped"),
    &[],
    "Alerts lost because a sink's queue was full.",
);
pub(crate) const SINK_FAILURES: Spec = counter(
    same("bilten.monitor.sink_failures"),
    &[],
    "Deliveries that a sink refused or panicked on, looks at which a recorder or a clock panicked, and panics of a recorder that was asked for a handle or given a value.",
);
pub(crate) const SAMPLES_DROPPED: Spec = counter(
    same("bilten.monitor.samples_dropped"),
    &[],
    "Samples lost because a metric sink's queue was full.",
);
pub(crate) const REJECTED: Spec = counter(
    same("bilten.monitor.rejected"),
    &[],
    "Values and names that were refused: NaN, infinite, negative, colliding.",
);
pub(crate) const UNRECORDED: Spec = counter(
    same("bilten.monitor.unrecorded"),
    &[],
    "Observations made before there was a recorder, or that it panicked on, which no exporter has.",
);
pub(crate) const EXPORT_REJECTED: Spec = counter(
    same("bilten.monitor.export_rejected"),
    &[],
    "What the exporter refused: values that are no numbers, metrics whose name is taken, and labels or series that are written like others.",
);

/// All of them, in the order of the documentation.
pub(crate) const OWN: &[Spec] = &[
    QUERY_DURATION,
    QUERY_ACTIVE,
    QUERY_ROWS,
    REQUEST_DURATION,
    REQUEST_FIRST_BYTE,
    REQUESTS_ACTIVE,
    REQUEST_SIZE,
    RESPONSE_SIZE,
    RUNTIME_WORKERS,
    RUNTIME_TASKS,
    RUNTIME_QUEUE,
    RUNTIME_BUSY,
    RUNTIME_BUSIEST,
    RUNTIME_DELAY,
    ALERTS,
    OVERFLOWED,
    ALERTS_SUPPRESSED,
    ALERTS_DROPPED,
    SINK_FAILURES,
    SAMPLES_DROPPED,
    REJECTED,
    UNRECORDED,
    EXPORT_REJECTED,
];
