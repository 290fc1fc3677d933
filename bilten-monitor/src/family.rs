//! One metric name with all its series, and the set of all names.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{Counter, Gauge, Histogram, Label, SharedString};
use rapidhash::fast::RapidHasher;

use crate::alert::Gate;
use crate::error::Error;
use crate::hub::Hub;
use crate::label::LabelValue;
use crate::names::{self, Kind, OTHER};
use crate::registry::{Cached, SeriesId};
use crate::table::{Table, hash_text};

/// A program has at most so many metrics of its own.
const MAX_NAMES: usize = 1000;

type Labels = [(&'static str, LabelValue)];

/// The names in use.
#[derive(Debug)]
pub(crate) struct Declared {
    families: Table<Family>,
    /// Names as they are exported, with the names they came from.
    exported: Mutex<HashMap<String, Claim>>,
}

/// Who has an exported name: this crate, or the program under this spelling.
#[derive(Clone, Copy, Debug)]
struct Claim {
    name: &'static str,
    own: bool,
}

impl Declared {
    pub(crate) fn new(hub: &Hub) -> Self {
        let own = names::all().flat_map(|spec| [spec.name.otel, spec.name.short]);
        let exported = own
            .map(|name| (names::exported(name), Claim { name, own: true }))
            .collect();
        debug_assert!(hub.max_labels > 0, "checked by the builder");
        Self {
            families: Table::new(MAX_NAMES),
            exported: Mutex::new(exported),
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
            None => {
                self.claim(name)?;
                self.families
                    .find_or_insert(hash, same, || Family::new(name, kind, hub.max_labels))
                    .ok_or(Error::TooLarge {
                        field: "metric",
                        most: MAX_NAMES,
                    })?
            }
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

    fn claim(&self, name: &'static str) -> Result<(), Error> {
        check_name(name)?;
        let mut exported = self.exported.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = *exported
            .entry(names::exported(name))
            .or_insert(Claim { name, own: false });
        if claim.name == name && !claim.own {
            return Ok(());
        }
        Err(Error::NameCollision {
            name,
            taken: claim.name,
        })
    }
}

fn check_name(name: &'static str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::EmptyName { field: "metric" });
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
    check_name(name)?;
    if names::is_reserved(&names::exported(name), kind) {
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
}

impl Family {
    fn new(name: &'static str, kind: Kind, capacity: usize) -> Self {
        Self {
            name,
            kind,
            series: Table::new(capacity),
            other: OnceLock::new(),
            overflow: Gate::default(),
        }
    }

    pub(crate) fn record(&self, hub: &Hub, labels: &Labels, value: f64) -> Result<(), Error> {
        let hash = hash_labels(labels);
        let same = |series: &Series| *series.labels == *labels;
        if let Some(series) = self.series.find(hash, same) {
            series.record(hub, value);
            return Ok(());
        }
        labels
            .iter()
            .try_for_each(|(label, _)| check_label(label, self.kind))?;
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
        let ids = match &self.instrument {
            Instrument::Counter(counter) => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it came from a u64"
                )]
                counter.each(&hub.registry, now, |handle| handle.increment(value as u64));
                &counter.ids
            }
            Instrument::Gauge(gauge) => {
                gauge.each(&hub.registry, now, |handle| handle.set(value));
                &gauge.ids
            }
            Instrument::Histogram(histogram) => {
                histogram.each(&hub.registry, now, |handle| handle.record(value));
                &histogram.ids
            }
        };
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
    fn a_metric_name_has_letters_digits_underscores_and_dots() {
        for good in ["tickets.sold", "_x", "A9"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["9x", "a b", "a\nb", "a\"", "é", ".x", "a-b"] {
            assert!(
                matches!(check_name(bad), Err(Error::MetricName { .. })),
                "{bad}"
            );
        }
        assert!(matches!(
            check_name(""),
            Err(Error::EmptyName { field: "metric" })
        ));
    }
}
