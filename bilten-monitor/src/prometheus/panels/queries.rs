//! Queries.

use super::{Row, panel};

pub(super) const ROW: Row = Row {
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
};
