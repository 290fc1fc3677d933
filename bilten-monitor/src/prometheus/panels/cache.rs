//! The cache.

use super::{Row, panel};

pub(super) const ROW: Row = Row {
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
            "In memory",
            "bytes",
            &[(
                "{{[[cache]]}}",
                "sum by ([[cache]]) ([[bilten_cache_memory_bytes]])",
            )],
        ),
        panel(
            "No room in memory",
            "ops",
            &[(
                "{{[[cache]]}}",
                "sum by ([[cache]]) (rate([[bilten_cache_evictions_total]][$__rate_interval]))",
            )],
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
};
