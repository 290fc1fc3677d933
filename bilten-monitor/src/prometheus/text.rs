//! Prometheus's text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use metrics::{Key, Unit};

use super::distribution::Reading;
use crate::names::{Kind, exported, is_reserved, shown};

/// What a series holds.
#[derive(Debug)]
pub(super) enum Value {
    Count(u64),
    Level(f64),
    Spread(Reading),
}

/// One metric with all its series.
#[derive(Debug)]
pub(super) struct Family {
    /// As it was registered.
    pub(super) source: String,
    /// As it is written.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) born: u64,
    help: String,
    /// By labels as they are written, with the youngest's place in line.
    series: BTreeMap<String, (u64, Value)>,
}

impl Family {
    pub(super) fn new(source: &str, kind: Kind, help: &str, unit: Option<Unit>) -> Self {
        Self {
            source: source.to_owned(),
            name: shown(source, kind, unit),
            kind,
            born: u64::MAX,
            help: help.to_owned(),
            series: BTreeMap::new(),
        }
    }

    /// Adds a series. Two that are written alike are one: their counts are added, the younger level stays.
    pub(super) fn add(&mut self, key: &Key, born: u64, value: Value) {
        self.born = self.born.min(born);
        let labels = labels(key);
        let Some((place, known)) = self.series.get_mut(&labels) else {
            self.series.insert(labels, (born, value));
            return;
        };
        match (known, value) {
            (Value::Count(known), Value::Count(more)) => *known = known.saturating_add(more),
            (Value::Level(known), Value::Level(level)) if born > *place => *known = level,
            (Value::Spread(known), Value::Spread(more)) => known.add(&more),
            _ => {}
        }
        *place = born.max(*place);
    }

    /// Every name that its lines begin with.
    pub(super) fn sample_names(&self) -> Vec<String> {
        let mut names = vec![self.name.clone()];
        if self.kind == Kind::Histogram {
            names.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", self.name)));
        }
        names
    }
}

/// Whether a server that reads this series would refuse the whole text for its sake.
pub(super) fn is_unfit(key: &Key, kind: Kind) -> bool {
    let unfit = |label: &metrics::Label| {
        label.key().is_empty() || is_reserved(&exported(label.key()), kind)
    };
    key.name().is_empty() || key.labels().any(unfit)
}

/// The families one after the other.
pub(super) fn written(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let (name, kind) = (&family.name, family.kind.label());
        line(
            &mut text,
            format_args!("# HELP {name} {}", help(&family.help)),
        );
        line(&mut text, format_args!("# TYPE {name} {kind}"));
        for (labels, (_, value)) in &family.series {
            series(&mut text, name, labels, value);
        }
    }
    text
}

fn series(text: &mut String, name: &str, labels: &str, value: &Value) {
    let set = if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    };
    let reading = match value {
        Value::Count(count) => return line(text, format_args!("{name}{set} {count}")),
        Value::Level(level) => return line(text, format_args!("{name}{set} {}", number(*level))),
        Value::Spread(reading) => reading,
    };
    let comma = if labels.is_empty() { "" } else { "," };
    let ends = reading.bounds.iter().copied().chain([f64::INFINITY]);
    let mut total = 0_u64;
    for (end, count) in ends.zip(&reading.counts) {
        total += count;
        let le = number(end);
        line(
            text,
            format_args!("{name}_bucket{{{labels}{comma}le=\"{le}\"}} {total}"),
        );
    }
    line(
        text,
        format_args!("{name}_sum{set} {}", number(reading.sum)),
    );
    line(text, format_args!("{name}_count{set} {total}"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let wrote = writeln!(text, "{arguments}");
    debug_assert!(wrote.is_ok(), "a String takes everything");
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

/// The labels in the order of their names; of a name that comes twice the last value.
fn labels(key: &Key) -> String {
    let labels: BTreeMap<String, &str> = key
        .labels()
        .map(|label| (exported(label.key()), label.value()))
        .collect();
    let written = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    written.collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

fn help(text: &str) -> String {
    text.replace('\\', r"\\").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics::Label;

    use super::*;

    fn key(labels: &[(&'static str, &'static str)]) -> Key {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| Label::new(*name, *value))
            .collect();
        Key::from_parts("x.y", labels)
    }

    #[test]
    fn hostile_values_are_escaped_and_stay_apart() {
        let mut family = Family::new("x.y", Kind::Counter, "Two\nlines \\ here.", None);
        for value in ["a\\b", "a\\\\b", "q\"", "n\n", "a\\nb"] {
            family.add(&key(&[("l-1", value)]), 0, Value::Count(1));
        }
        let text = written(&[family]);
        assert!(
            text.starts_with("# HELP x_y_total Two\\nlines \\\\ here.\n# TYPE x_y_total counter\n")
        );
        for line in [
            r#"{l_1="a\\b"} 1"#,
            r#"{l_1="a\\\\b"} 1"#,
            r#"{l_1="q\""} 1"#,
            r#"{l_1="n\n"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(text.lines().count(), 7, "{text}");
    }

    #[test]
    fn names_that_prometheus_keeps_for_itself_are_unfit() {
        for name in ["", "__name__", "__x", "-_x", "le"] {
            assert!(
                is_unfit(&key(&[("a", "1"), (name, "v")]), Kind::Histogram),
                "{name}"
            );
        }
        assert!(is_unfit(&Key::from_static_name(""), Kind::Gauge));
        assert!(!is_unfit(&key(&[("le", "1"), ("_x", "2")]), Kind::Counter));
    }

    #[test]
    fn series_that_are_written_alike_are_one() {
        let mut family = Family::new("x.y", Kind::Counter, "Help.", None);
        family.add(&key(&[("a", "1"), ("b", "2")]), 0, Value::Count(3));
        family.add(&key(&[("b", "2"), ("a", "1")]), 1, Value::Count(4));
        assert!(written(&[family]).ends_with("x_y_total{a=\"1\",b=\"2\"} 7\n"));
    }

    #[test]
    fn buckets_add_up_to_the_count() {
        let mut family = Family::new("x.y", Kind::Histogram, "Help.", Some(Unit::Seconds));
        let reading = Reading {
            bounds: Arc::new([0.5, 1.0]),
            counts: vec![2, 0, 1],
            sum: 9.5,
        };
        family.add(&key(&[]), 0, Value::Spread(reading));
        let text = written(&[family]);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                r#"x_y_seconds_bucket{le="0.5"} 2"#,
                r#"x_y_seconds_bucket{le="1"} 2"#,
                r#"x_y_seconds_bucket{le="+Inf"} 3"#,
                "x_y_seconds_sum 9.5",
                "x_y_seconds_count 3",
            ]
        );
    }
}
