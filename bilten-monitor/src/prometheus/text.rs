//! Prometheus's text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use metrics::{Key, Unit};

use super::distribution::Reading;
use crate::names::{Kind, Spec, all, exported, is_reserved, shown};

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
    /// By labels as they are written.
    series: BTreeMap<String, Line>,
}

#[derive(Debug)]
struct Line {
    /// The youngest's place in line.
    born: u64,
    key: Key,
    value: Value,
}

/// What became of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Whole,
    /// It is written like another one, or two of its labels are written alike: something of it cannot be seen.
    Blurred,
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
    pub(super) fn add(&mut self, key: Key, born: u64, value: Value) -> Added {
        self.born = self.born.min(born);
        let (labels, is_whole) = labels(&key);
        let added = if is_whole {
            Added::Whole
        } else {
            Added::Blurred
        };
        let Some(known) = self.series.get_mut(&labels) else {
            self.series.insert(labels, Line { born, key, value });
            return added;
        };
        // A label without a value makes no other series: counts add up, but one level hides the other.
        let is_same = spelled(&known.key) == spelled(&key) && self.kind != Kind::Gauge;
        known.join(born, value);
        if is_same { added } else { Added::Blurred }
    }

    /// Whether the table has it.
    pub(super) fn is_known(&self) -> bool {
        let is_it = |spec: &Spec| {
            let names = [spec.name.otel, spec.name.short];
            spec.kind == self.kind && names.contains(&&*self.source)
        };
        all().any(is_it)
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

impl Line {
    fn join(&mut self, born: u64, value: Value) {
        match (&mut self.value, value) {
            (Value::Count(known), Value::Count(more)) => *known = known.saturating_add(more),
            (Value::Level(known), Value::Level(level)) if born > self.born => *known = level,
            (Value::Spread(known), Value::Spread(more)) => known.add(&more),
            _ => {}
        }
        self.born = born.max(self.born);
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
        for (labels, line) in &family.series {
            series(&mut text, name, labels, &line.value);
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
        total = total.saturating_add(*count);
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

/// The labels in the order of their names, and whether all are there: of a name that comes twice only the last value
/// is. An empty value is the same as no label.
fn labels(key: &Key) -> (String, bool) {
    let mut labels = BTreeMap::new();
    let mut is_whole = true;
    for label in key.labels().filter(|label| !label.value().is_empty()) {
        let before = labels.insert(exported(label.key()), label.value());
        is_whole &= before.is_none_or(|before| before == label.value());
    }
    let written = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    (written.collect::<Vec<_>>().join(","), is_whole)
}

/// The labels' own names, in order.
fn spelled(key: &Key) -> Vec<&str> {
    let labels = key.labels().filter(|label| !label.value().is_empty());
    let mut names: Vec<_> = labels.map(metrics::Label::key).collect();
    names.sort_unstable();
    names.dedup();
    names
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
            family.add(key(&[("l-1", value)]), 0, Value::Count(1));
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
    fn series_that_are_written_alike_are_one_and_it_is_told_when_that_hides_something() {
        let count = |labels: &[_], family: &mut Family| family.add(key(labels), 0, Value::Count(1));
        let mut counts = Family::new("x.y", Kind::Counter, "Help.", None);
        for (labels, expected) in [
            (&[("a", "1"), ("b", "2")][..], Added::Whole),
            (&[("b", "2"), ("a", "1")], Added::Whole),
            (&[("b", "2"), ("a", "1"), ("c", "")], Added::Whole),
            (&[("a", "1"), ("a", "1"), ("b", "2")], Added::Whole),
            (&[("-", "3")], Added::Whole),
            (&[("_", "3")], Added::Blurred),
            (&[("a.b", "1"), ("a_b", "2")], Added::Blurred),
            (&[("c", "1"), ("c", "2")], Added::Blurred),
        ] {
            assert_eq!(count(labels, &mut counts), expected, "{labels:?}");
        }
        let text = written(&[counts]);
        assert!(text.contains("x_y_total{a=\"1\",b=\"2\"} 4\n"), "{text}");
        assert!(text.contains("x_y_total{_=\"3\"} 2\n"), "{text}");
        let mut levels = Family::new("x.y", Kind::Gauge, "Help.", None);
        let (one, other) = (
            key(&[("a", "1"), ("b", "2")]),
            key(&[("a", "1"), ("b", "2"), ("c", "")]),
        );
        assert_eq!(levels.add(one, 0, Value::Level(1.0)), Added::Whole);
        assert_eq!(levels.add(other, 1, Value::Level(2.0)), Added::Blurred);
        assert!(written(&[levels]).ends_with("x_y{a=\"1\",b=\"2\"} 2\n"));
    }

    #[test]
    fn buckets_add_up_to_the_count() {
        let mut family = Family::new("x.y", Kind::Histogram, "Help.", Some(Unit::Seconds));
        let reading = Reading {
            bounds: Arc::new([0.5, 1.0]),
            counts: vec![2, 0, 1],
            sum: 9.5,
        };
        family.add(key(&[]), 0, Value::Spread(reading));
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
