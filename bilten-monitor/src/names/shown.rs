//! A name as Prometheus shows it.

use metrics::Unit;

use super::Kind;

/// A metric or label name with the characters that Prometheus takes.
pub(crate) fn exported(name: &str) -> String {
    let fits = |(at, c): (usize, char)| {
        let first = c.is_ascii_alphabetic() || c == '_';
        if first || (at > 0 && c.is_ascii_digit()) {
            c
        } else {
            '_'
        }
    };
    name.chars().enumerate().map(fits).collect()
}

/// What Prometheus itself writes for each target and each alert. A metric of one of these names would be kept in its place: a
/// service's own `up` tells of no outage.
pub(crate) const SYNTHETIC: [&str; 10] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
    "ALERTS",
    "ALERTS_FOR_STATE",
];

/// Whether a label, as it is exported, belongs to Prometheus: `le` in a histogram, and what begins with two underscores.
pub(crate) fn is_reserved(label: &str, kind: Kind) -> bool {
    label.starts_with("__") || (label == "le" && kind == Kind::Histogram)
}

/// The whole name: with its unit, and with `_total` when it counts.
pub(crate) fn shown(name: &str, kind: Kind, unit: Option<Unit>) -> String {
    let mut shown = exported(name);
    let stem = shown.strip_suffix("_total").map(str::to_owned);
    if kind == Kind::Counter {
        shown = stem.unwrap_or(shown);
    }
    if let Some(unit) = unit.and_then(suffix) {
        let has_it = shown == unit || shown.strip_suffix(unit).is_some_and(|s| s.ends_with('_'));
        if !has_it {
            shown = format!("{shown}_{unit}");
        }
    }
    if kind == Kind::Counter {
        shown += "_total";
    }
    shown
}

fn suffix(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Count => None,
        Unit::Percent => Some("ratio"),
        unit => Some(unit.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_and_total_are_added_once() {
        let seconds = Some(Unit::Seconds);
        let names = [
            ("a.b", Kind::Gauge, None, "a_b"),
            ("a.b", Kind::Histogram, seconds, "a_b_seconds"),
            ("a_seconds", Kind::Histogram, seconds, "a_seconds"),
            ("milliseconds", Kind::Gauge, seconds, "milliseconds_seconds"),
            ("sold", Kind::Counter, None, "sold_total"),
            ("sold_total", Kind::Counter, None, "sold_total"),
            (
                "sold_total",
                Kind::Counter,
                Some(Unit::Bytes),
                "sold_bytes_total",
            ),
            ("load", Kind::Gauge, Some(Unit::Percent), "load_ratio"),
            ("tasks", Kind::Gauge, Some(Unit::Count), "tasks"),
            ("9x", Kind::Gauge, None, "_x"),
            ("x9-\u{e9}", Kind::Gauge, None, "x9__"),
        ];
        for (name, kind, unit, expected) in names {
            assert_eq!(shown(name, kind, unit), expected, "{name}");
        }
    }
}
