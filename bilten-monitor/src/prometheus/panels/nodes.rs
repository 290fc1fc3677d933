//! The nodes of the database.

use super::{Row, panel};

pub(super) const ROW: Row = Row {
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
};
