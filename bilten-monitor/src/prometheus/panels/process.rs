//! The runtime, and the monitor itself.

use super::{Row, panel};

pub(super) const ROW: Row = Row {
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
};
