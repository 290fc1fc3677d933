//! Reads the Prometheus text format, so that a test sees what Prometheus would.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    pub(crate) series: Vec<Series>,
}

impl Scrape {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self {
            text: text.to_owned(),
            series: lines.map(series).collect(),
        }
    }

    /// The sum over all series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|series| series.value).sum()
    }

    pub(crate) fn matching<'s>(
        &'s self,
        name: &'s str,
        labels: &'s [(&str, &str)],
    ) -> impl Iterator<Item = &'s Series> {
        self.series.iter().filter(move |series| {
            let has = |(label, value): &(&str, &str)| {
                series
                    .labels
                    .get(*label)
                    .is_some_and(|found| found == value)
            };
            series.name == name && labels.iter().all(has)
        })
    }

    /// The values of one label, over everything.
    pub(crate) fn values_of(&self, label: &str) -> std::collections::BTreeSet<&str> {
        self.series
            .iter()
            .filter_map(|series| series.labels.get(label))
            .map(String::as_str)
            .collect()
    }
}

fn series(line: &str) -> Series {
    let (head, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (
            name,
            parse_labels(labels.strip_suffix('}').expect("a closing brace")),
        ),
        None => (head, BTreeMap::new()),
    };
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("no number: {line}"));
    Series {
        name: name.to_owned(),
        labels,
        value,
    }
}

fn parse_labels(mut rest: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escaped character").1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(
            labels
                .insert(name.trim_start_matches(',').to_owned(), value)
                .is_none(),
            "a label comes once"
        );
        rest = &quoted[end + 1..];
    }
    labels
}
