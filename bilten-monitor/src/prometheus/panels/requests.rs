//! Requests.

use super::{Row, panel};

pub(super) const ROW: Row = Row {
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
                    "(sum(rate([[http.server.request.duration]]_count{[[outcome]]=~\"error|panicked\"}[$__rate_interval])) or vector(0)) / sum(rate([[http.server.request.duration]]_count[$__rate_interval]))",
                ),
                (
                    "cancelled",
                    "(sum(rate([[http.server.request.duration]]_count{[[outcome]]=\"cancelled\"}[$__rate_interval])) or vector(0)) / sum(rate([[http.server.request.duration]]_count[$__rate_interval]))",
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
};
