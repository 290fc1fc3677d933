//! What the dashboard shows: a row for each crate, and the expressions of each panel.

/// A row of panels.
pub(super) struct Row {
    pub(super) title: &'static str,
    pub(super) panels: &'static [Panel],
}

/// One graph.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// Grafana's name of the unit.
    pub(super) unit: &'static str,
    /// A legend and an expression in which `[[..]]` stands for a metric or a label.
    pub(super) lines: &'static [(&'static str, &'static str)],
}

const fn panel(
    title: &'static str,
    unit: &'static str,
    lines: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { title, unit, lines }
}

pub(super) const ROWS: &[Row] = &[
    Row {
        title: "Requests",
        panels: &[
            panel(
                "Requests by route",
                "reqps",
                &[(
                    "{{[[http.route]]}}",
                    "sum by ([[http.route]]) (rate([[http.server.request.duration]]_count[$__rate_interval]))",
                )],
            ),
            panel(
                "Failed and cancelled",
                "percentunit",
                &[
                    (
                        "failed",
                        "sum(rate([[http.server.request.duration]]_count{[[outcome]]=~\"error|panicked\"}[$__rate_interval])) / sum(rate([[http.server.request.duration]]_count[$__rate_interval]))",
                    ),
                    (
                        "cancelled",
                        "sum(rate([[http.server.request.duration]]_count{[[outcome]]=\"cancelled\"}[$__rate_interval])) / sum(rate([[http.server.request.duration]]_count[$__rate_interval]))",
                    ),
                ],
            ),
            panel(
                "Duration to the last byte",
                "s",
                &[
                    (
                        "p50",
                        "histogram_quantile(0.5, sum by (le) (rate([[http.server.request.duration]]_bucket[$__rate_interval])))",
                    ),
                    (
                        "p95",
                        "histogram_quantile(0.95, sum by (le) (rate([[http.server.request.duration]]_bucket[$__rate_interval])))",
                    ),
                    (
                        "p99",
                        "histogram_quantile(0.99, sum by (le) (rate([[http.server.request.duration]]_bucket[$__rate_interval])))",
                    ),
                ],
            ),
            panel(
                "Apdex at 0.25 s",
                "percentunit",
                &[(
                    "",
                    "(sum(rate([[http.server.request.duration]]_bucket{[[outcome]]=\"success\",le=\"0.25\"}[$__rate_interval])) + sum(rate([[http.server.request.duration]]_bucket{[[outcome]]=\"success\",le=~\"1(\\\\.0)?\"}[$__rate_interval]))) / 2 / sum(rate([[http.server.request.duration]]_count[$__rate_interval]))",
                )],
            ),
            panel(
                "First byte, p95 by route",
                "s",
                &[(
                    "{{[[http.route]]}}",
                    "histogram_quantile(0.95, sum by (le, [[http.route]]) (rate([[http.server.time_to_first_byte]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "Under way",
                "short",
                &[(
                    "{{[[http.request.method]]}}",
                    "sum by ([[http.request.method]]) ([[http.server.active_requests]])",
                )],
            ),
            panel(
                "Bytes",
                "Bps",
                &[
                    (
                        "in",
                        "sum(rate([[http.server.request.body.size]]_sum[$__rate_interval]))",
                    ),
                    (
                        "out",
                        "sum(rate([[http.server.response.body.size]]_sum[$__rate_interval]))",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Queries",
        panels: &[
            panel(
                "Queries by name",
                "ops",
                &[(
                    "{{[[db.query.summary]]}}",
                    "sum by ([[db.query.summary]]) (rate([[db.client.operation.duration]]_count[$__rate_interval]))",
                )],
            ),
            panel(
                "Duration, p95 by name",
                "s",
                &[(
                    "{{[[db.query.summary]]}}",
                    "histogram_quantile(0.95, sum by (le, [[db.query.summary]]) (rate([[db.client.operation.duration]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "Not successful",
                "ops",
                &[(
                    "{{[[outcome]]}} {{[[error.type]]}}",
                    "sum by ([[outcome]], [[error.type]]) (rate([[db.client.operation.duration]]_count{[[outcome]]!=\"success\"}[$__rate_interval]))",
                )],
            ),
            panel(
                "Under way",
                "short",
                &[(
                    "{{[[db.query.summary]]}}",
                    "sum by ([[db.query.summary]]) ([[db.client.active_operations]])",
                )],
            ),
            panel(
                "Rows",
                "short",
                &[(
                    "{{[[db.query.summary]]}}",
                    "sum by ([[db.query.summary]]) (rate([[db.client.response.returned_rows]]_sum[$__rate_interval])) / sum by ([[db.query.summary]]) (rate([[db.client.response.returned_rows]]_count[$__rate_interval]))",
                )],
            ),
        ],
    },
    Row {
        title: "Cache",
        panels: &[
            panel(
                "Share of reads served",
                "percentunit",
                &[(
                    "{{[[cache]]}}/{{[[region]]}} {{[[level]]}}",
                    "sum by ([[cache]], [[region]], [[level]]) (rate([[bilten_cache_hits_total]][$__rate_interval])) / ignoring ([[level]]) group_left () (sum by ([[cache]], [[region]]) (rate([[bilten_cache_hits_total]][$__rate_interval])) + sum by ([[cache]], [[region]]) (rate([[bilten_cache_misses_total]][$__rate_interval])))",
                )],
            ),
            panel(
                "Loads",
                "ops",
                &[
                    (
                        "{{[[region]]}}",
                        "sum by ([[region]]) (rate([[bilten_cache_loads_total]][$__rate_interval]))",
                    ),
                    (
                        "{{[[region]]}} failed",
                        "sum by ([[region]]) (rate([[bilten_cache_load_errors_total]][$__rate_interval]))",
                    ),
                    (
                        "{{[[region]]}} stale",
                        "sum by ([[region]]) (rate([[bilten_cache_stale_total]][$__rate_interval]))",
                    ),
                    (
                        "{{[[region]]}} waited for another's",
                        "sum by ([[region]]) (rate([[bilten_cache_coalesced_total]][$__rate_interval]))",
                    ),
                ],
            ),
            panel(
                "Time of a load, p95",
                "s",
                &[(
                    "{{[[region]]}}",
                    "histogram_quantile(0.95, sum by (le, [[region]]) (rate([[bilten_cache_load_seconds]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "Second level and log",
                "ops",
                &[
                    (
                        "{{[[cache]]}} failed calls",
                        "sum by ([[cache]]) (rate([[bilten_cache_remote_failures_total]][$__rate_interval]))",
                    ),
                    (
                        "{{[[cache]]}} invalidations",
                        "sum by ([[cache]]) (rate([[bilten_cache_invalidations_total]][$__rate_interval]))",
                    ),
                    (
                        "{{[[cache]]}} gaps",
                        "sum by ([[cache]]) (rate([[bilten_cache_log_gaps_total]][$__rate_interval]))",
                    ),
                ],
            ),
            panel(
                "Behind the log",
                "s",
                &[
                    (
                        "{{[[cache]]}} age",
                        "max by ([[cache]]) ([[bilten_cache_log_age_seconds]])",
                    ),
                    (
                        "{{[[cache]]}} records",
                        "max by ([[cache]]) ([[bilten_cache_log_lag_records]])",
                    ),
                ],
            ),
            panel(
                "State of the second level",
                "short",
                &[
                    (
                        "{{[[cache]]}} connected",
                        "min by ([[cache]]) ([[bilten_cache_connected]])",
                    ),
                    (
                        "{{[[cache]]}} waiting",
                        "max by ([[cache]]) ([[bilten_cache_waiting]])",
                    ),
                ],
            ),
            panel(
                "Not stored",
                "ops",
                &[(
                    "{{[[region]]}} {{[[reason]]}}",
                    "sum by ([[region]], [[reason]]) (rate([[bilten_cache_refused_total]][$__rate_interval]))",
                )],
            ),
        ],
    },
    Row {
        title: "Database nodes",
        panels: &[
            panel(
                "Statements by node and reason",
                "ops",
                &[(
                    "{{[[node]]}} {{[[reason]]}}",
                    "sum by ([[node]], [[reason]]) (rate([[bilten_db_statements_total]][$__rate_interval]))",
                )],
            ),
            panel(
                "Time of a statement, p95",
                "s",
                &[(
                    "{{[[node]]}}",
                    "histogram_quantile(0.95, sum by (le, [[node]]) (rate([[bilten_db_statement_seconds]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "Wait for a connection, p95",
                "s",
                &[(
                    "{{[[node]]}}",
                    "histogram_quantile(0.95, sum by (le, [[node]]) (rate([[bilten_db_acquire_seconds]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "In rotation",
                "short",
                &[("{{[[node]]}}", "min by ([[node]]) ([[bilten_db_node_up]])")],
            ),
            panel(
                "Ejections and failovers",
                "short",
                &[
                    (
                        "{{[[node]]}} ejected",
                        "increase([[bilten_db_ejections_total]][$__rate_interval])",
                    ),
                    (
                        "{{[[node]]}} promoted",
                        "increase([[bilten_db_failovers_total]][$__rate_interval])",
                    ),
                ],
            ),
            panel(
                "Under way",
                "short",
                &[(
                    "{{[[node]]}}",
                    "sum by ([[node]]) ([[bilten_db_in_flight]])",
                )],
            ),
            panel(
                "Lag of the replicas",
                "s",
                &[(
                    "{{[[node]]}}",
                    "max by ([[node]]) ([[bilten_db_lag_seconds]])",
                )],
            ),
            panel(
                "Connections",
                "short",
                &[(
                    "{{[[node]]}} {{[[state]]}}",
                    "sum by ([[node]], [[state]]) ([[bilten_db_pool_connections]])",
                )],
            ),
        ],
    },
    Row {
        title: "Health",
        panels: &[
            panel(
                "Checks",
                "short",
                &[("{{[[check]]}}", "min by ([[check]]) ([[health_check_up]])")],
            ),
            panel(
                "Time of a check, p95",
                "s",
                &[(
                    "{{[[check]]}}",
                    "histogram_quantile(0.95, sum by (le, [[check]]) (rate([[health_check_duration_seconds]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "Changes",
                "short",
                &[(
                    "{{[[check]]}}",
                    "increase([[health_status_changes_total]][$__rate_interval])",
                )],
            ),
        ],
    },
    Row {
        title: "Runtime and monitor",
        panels: &[
            panel(
                "Workers busy",
                "percentunit",
                &[
                    ("all", "[[bilten.runtime.busy_ratio]]"),
                    ("the busiest", "[[bilten.runtime.busiest_ratio]]"),
                ],
            ),
            panel(
                "Tasks",
                "short",
                &[
                    ("not ended", "[[bilten.runtime.tasks]]"),
                    ("in the global queue", "[[bilten.runtime.queue]]"),
                ],
            ),
            panel(
                "Wait for a turn, p95",
                "s",
                &[(
                    "",
                    "histogram_quantile(0.95, sum by (le) (rate([[bilten.runtime.schedule_delay]]_bucket[$__rate_interval])))",
                )],
            ),
            panel(
                "Alerts of the process",
                "short",
                &[(
                    "{{[[kind]]}}",
                    "sum by ([[kind]]) (increase([[bilten.monitor.alerts]][$__rate_interval]))",
                )],
            ),
            panel(
                "What the monitor did not keep",
                "short",
                &[
                    (
                        "overflowed",
                        "increase([[bilten.monitor.overflowed]][$__rate_interval])",
                    ),
                    (
                        "suppressed",
                        "increase([[bilten.monitor.alerts_suppressed]][$__rate_interval])",
                    ),
                    (
                        "alerts dropped",
                        "increase([[bilten.monitor.alerts_dropped]][$__rate_interval])",
                    ),
                    (
                        "sink failures",
                        "increase([[bilten.monitor.sink_failures]][$__rate_interval])",
                    ),
                    (
                        "samples dropped",
                        "increase([[bilten.monitor.samples_dropped]][$__rate_interval])",
                    ),
                    (
                        "refused",
                        "increase([[bilten.monitor.rejected]][$__rate_interval])",
                    ),
                    (
                        "not exported",
                        "increase([[bilten.monitor.export_rejected]][$__rate_interval])",
                    ),
                ],
            ),
        ],
    },
];
