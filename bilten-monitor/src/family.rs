//! One metric name with all its series, and the set of all names.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{Counter, Gauge, Histogram, Label, SharedString};
use rapidhash::fast::RapidHasher;

use crate::alert::{AlertKind, Gate};
use crate::error::Error;
use crate::hub::Hub;
use crate::label::LabelValue;
use crate::names::{self, Kind, OTHER, Spec, exported, shown};
use crate::registry::{Cached, SeriesId};
use crate::slots::Watched;
use crate::table::{Table, hash_text};

/// A program has at most so many metrics of its own.
const MAX_NAMES: usize = 1000;

type Labels = [(&'static str, LabelValue)];

/// The names in use.
#[derive(Debug)]
pub(crate) struct Declared {
    families: Table<Family>,
    /// Names as they are exported, with the names they came from.
    exported: Mutex<HashMap<String, &'static str>>,
}

impl Declared {
    pub(crate) fn new(hub: &Hub) -> Self {
        debug_assert!(hub.max_labels > 0, "checked by the builder");
        Self {
            families: Table::new(MAX_NAMES),
            exported: Mutex::new(own_claims()),
        }
    }

    /// The family of this name; declared on first use.
    pub(crate) fn family(
        &self,
        hub: &Hub,
        name: &'static str,
        kind: Kind,
    ) -> Result<&Family, Error> {
        let hash = hash_text(name);
        let same = |family: &Family| family.name == name;
        let family = match self.families.find(hash, same) {
            Some(family) => family,
            None => self.declare(hub, name, kind)?,
        };
        if family.kind == kind {
            return Ok(family);
        }
        Err(Error::KindMismatch {
            name,
            taken: family.kind.label(),
            wanted: kind.label(),
        })
    }

    fn declare(&self, hub: &Hub, name: &'static str, kind: Kind) -> Result<&Family, Error> {
        check_name("metric", name)?;
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        let (hash, same) = (hash_text(name), |family: &Family| family.name == name);
        // Another thread may have declared it while this one waited for the lock.
        if let Some(family) = self.families.find(hash, same) {
            return Ok(family);
        }
        let wanted = written(name, kind, None);
        for shown in &wanted {
            if let Some(taken) = exported.get(shown) {
                return Err(Error::NameCollision {
                    name,
                    taken,
                    exported: shown.clone(),
                });
            }
        }
        let make = || Family::new(name, kind, hub.max_labels);
        let most = MAX_NAMES;
        let family = self
            .families
            .find_or_insert(hash, same, make)
            .ok_or(Error::TooManyMetrics { name, most })?;
        exported.extend(wanted.into_iter().map(|shown| (shown, name)));
        Ok(family)
    }
}

impl Watched for Declared {
    fn gates(&self, visit: &mut dyn FnMut(AlertKind, &str, &Gate)) {
        self.families
            .iter()
            .for_each(|family| visit(AlertKind::TooManyLabels, family.name, &family.overflow));
    }
}

/// Who has the names that Prometheus writes itself.
const PROMETHEUS: &str = "Prometheus's own";

/// The names that the table of metrics takes, under both families: dashboards and rules read them. And Prometheus's own.
fn own_claims() -> HashMap<String, &'static str> {
    let names = |spec: &Spec| {
        let (kind, unit) = (spec.kind, spec.unit);
        [spec.name.otel, spec.name.short].map(|name| (name, written(name, kind, unit)))
    };
    names::all()
        .flat_map(names)
        .flat_map(|(name, written)| written.into_iter().map(move |shown| (shown, name)))
        .chain(names::SYNTHETIC.map(|name| (name.to_owned(), PROMETHEUS)))
        .collect()
}

/// Every name that a metric may have in an exporter: plain, with its unit, and with what its kind appends.
///
/// Exporters differ in whether they append anything, so the plain name is among them.
fn written(name: &str, kind: Kind, unit: Option<metrics::Unit>) -> HashSet<String> {
    let stems = [exported(name), shown(name, kind, unit)];
    let appended = |stem: &String| match kind {
        Kind::Gauge => Vec::new(),
        Kind::Counter => vec![
            shown(stem, kind, None),
            stem.trim_end_matches("_total").to_owned(),
        ],
        Kind::Histogram => ["bucket", "sum", "count"]
            .map(|part| format!("{stem}_{part}"))
            .into(),
    };
    let more: Vec<_> = stems.iter().flat_map(appended).collect();
    stems.into_iter().chain(more).collect()
}

/// A longer name is no name but a text.
const MAX_NAME_BYTES: usize = 200;

fn check_name(field: &'static str, name: &'static str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::EmptyName { field });
    }
    if name.len() > MAX_NAME_BYTES {
        let most = MAX_NAME_BYTES;
        return Err(Error::LongName { field, most });
    }
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    {
        return Ok(());
    }
    Err(Error::MetricName { name })
}

fn check_label(name: &'static str, kind: Kind) -> Result<(), Error> {
    check_name("label", name)?;
    if names::is_reserved(&exported(name), kind) {
        return Err(Error::LabelName { name });
    }
    Ok(())
}

/// One name and kind.
#[derive(Debug)]
pub(crate) struct Family {
    name: &'static str,
    kind: Kind,
    series: Table<Series>,
    other: OnceLock<Series>,
    overflow: Gate,
    /// Labels as they are exported, with the spelling that came first.
    spelled: Mutex<HashMap<String, &'static str>>,
}

impl Family {
    fn new(name: &'static str, kind: Kind, capacity: usize) -> Self {
        Self {
            name,
            kind,
            series: Table::new(capacity),
            other: OnceLock::new(),
            overflow: Gate::default(),
            spelled: Mutex::default(),
        }
    }

    pub(crate) fn record(&self, hub: &Hub, labels: &Labels, value: f64) -> Result<(), Error> {
        let hash = hash_labels(labels);
        let same = |series: &Series| *series.labels == *labels;
        if let Some(series) = self.series.find(hash, same) {
            series.record(hub, value);
            return Ok(());
        }
        self.check_labels(labels)?;
        let make = || Series::new(self, labels, labels.iter().map(|(_, value)| value.text()));
        if let Some(series) = self.series.find_or_insert(hash, same, make) {
            series.record(hub, value);
        } else {
            hub.overflowed(self.name, &self.overflow);
            let other = || Series::new(self, labels, labels.iter().map(|_| OTHER.into()));
            self.other.get_or_init(other).record(hub, value);
        }
        Ok(())
    }

    /// No two labels may be written alike, in one series or in two.
    fn check_labels(&self, labels: &Labels) -> Result<(), Error> {
        labels
            .iter()
            .try_for_each(|(label, _)| check_label(label, self.kind))?;
        let collision = |label, taken| Error::LabelCollision {
            name: self.name,
            label,
            taken,
        };
        let mut here = HashMap::new();
        for (label, _) in labels {
            if let Some(taken) = here.insert(exported(label), *label) {
                return Err(collision(label, taken));
            }
        }
        let mut spelled = self.spelled.lock().unwrap_or_else(PoisonError::into_inner);
        for (shown, label) in &here {
            if let Some(taken) = spelled.get(shown).filter(|taken| *taken != label) {
                return Err(collision(label, taken));
            }
        }
        spelled.extend(here);
        Ok(())
    }
}

#[derive(Debug)]
struct Series {
    labels: Box<Labels>,
    instrument: Instrument,
}

#[derive(Debug)]
enum Instrument {
    Counter(Cached<Counter>),
    Gauge(Cached<Gauge>),
    Histogram(Cached<Histogram>),
}

impl Series {
    fn new(family: &Family, labels: &Labels, values: impl Iterator<Item = SharedString>) -> Self {
        let written = labels
            .iter()
            .zip(values)
            .map(|((label, _), value)| Label::new(*label, value))
            .collect();
        let ids: Box<[_]> = Box::new([Arc::new(SeriesId::new(family.kind, family.name, written))]);
        let instrument = match family.kind {
            Kind::Counter => Instrument::Counter(Cached::new(ids)),
            Kind::Gauge => Instrument::Gauge(Cached::new(ids)),
            Kind::Histogram => Instrument::Histogram(Cached::new(ids)),
        };
        Self {
            labels: labels.into(),
            instrument,
        }
    }

    fn record(&self, hub: &Hub, value: f64) {
        let now = hub.time.now();
        let registry = &hub.registry;
        let (is_taken, ids) = match &self.instrument {
            Instrument::Counter(counter) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it came from a u64"
                )]
                let count = value as u64;
                let is_taken = counter.each(registry, now, |handle, _| handle.increment(count));
                (is_taken, &counter.ids)
            }
            Instrument::Gauge(gauge) => {
                let is_taken = gauge.each(registry, now, |handle, _| handle.set(value));
                (is_taken, &gauge.ids)
            }
            Instrument::Histogram(histogram) => {
                let is_taken = histogram.each(registry, now, |handle, _| handle.record(value));
                (is_taken, &histogram.ids)
            }
        };
        if !is_taken {
            hub.unrecorded(1);
        }
        ids.iter().for_each(|id| hub.sample(id, value, 1));
    }
}

fn hash_labels(labels: &Labels) -> u64 {
    let mut hasher = RapidHasher::default();
    labels.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_takes_every_name_that_some_exporter_may_give_it() {
        let names = |name, kind, unit| {
            let mut all: Vec<_> = written(name, kind, unit).into_iter().collect();
            all.sort();
            all
        };
        assert_eq!(names("a.b", Kind::Gauge, None), ["a_b"]);
        assert_eq!(names("c", Kind::Counter, None), ["c", "c_total"]);
        assert_eq!(names("c.total", Kind::Counter, None), ["c", "c_total"]);
        assert_eq!(
            names("h", Kind::Histogram, Some(metrics::Unit::Seconds)),
            [
                "h",
                "h_bucket",
                "h_count",
                "h_seconds",
                "h_seconds_bucket",
                "h_seconds_count",
                "h_seconds_sum",
                "h_sum"
            ]
        );
    }

    #[test]
    fn a_metric_name_has_letters_digits_underscores_and_dots() {
        for good in ["tickets.sold", "_x", "A9"] {
            assert!(check_name("metric", good).is_ok(), "{good}");
        }
        for bad in ["9x", "a b", "a\nb", "a\"", "é", ".x", "a-b"] {
            assert!(
                matches!(check_name("metric", bad), Err(Error::MetricName { .. })),
                "{bad}"
            );
        }
        assert!(matches!(
            check_name("metric", ""),
            Err(Error::EmptyName { field: "metric" })
        ));
    }
}
