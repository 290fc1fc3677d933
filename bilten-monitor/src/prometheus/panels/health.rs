//! Health checks.

use super::{Row, panel};

pub(super) const ROW: Row = Row {
    title: "Health",
    panels: &[
        panel(
            "Checks",
            "short",
            &[
                ("{{[[check]]}}", "min by ([[check]]) ([[health_check_up]])"),
                (
                    "{{[[check]]}} degraded",
                    "max by ([[check]]) ([[health_check_degraded]]) > 0",
                ),
            ],
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
};
