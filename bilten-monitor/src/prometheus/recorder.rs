//! The recorder behind the exporter.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::Registry;

use super::storage::{Kept, Shelf};
use super::text::{Added, Family, Value, is_unfit, written};
use crate::hub;
use crate::lasting::{self, Reach};
use crate::names::{EXPORT_REJECTED, Kind, SYNTHETIC, all, exported};
use crate::nanos::nanos;

type Description = (SharedString, Option<Unit>);

pub(super) struct TextRecorder {
    registry: Registry<Key, Shelf>,
    /// By exported name; the table's own texts are there from the start.
    described: Mutex<HashMap<String, Description>>,
    refused: Arc<AtomicU64>,
    /// Metrics that were refused, and why.
    told: Mutex<HashSet<(Kind, String, &'static str)>>,
    idle_nanos: Option<u64>,
    epoch: Instant,
}

impl TextRecorder {
    pub(super) fn new(
        general: Arc<[f64]>,
        bounds: HashMap<String, Arc<[f64]>>,
        idle: Option<Duration>,
    ) -> Self {
        let refused = Arc::new(AtomicU64::new(0));
        let known = all().flat_map(|spec| {
            let names = [spec.name.otel, spec.name.short];
            names.map(|name| (exported(name), (spec.help.into(), spec.unit)))
        });
        Self {
            described: Mutex::new(known.collect()),
            registry: Registry::new(Shelf {
                general,
                bounds,
                refused: Arc::clone(&refused),
                born: AtomicU64::new(0),
            }),
            refused,
            told: Mutex::default(),
            idle_nanos: idle.map(nanos),
            epoch: Instant::now(),
        }
    }

    /// Everything in the text format, in the order of names.
    pub(super) fn render(&self) -> String {
        hub::show_all();
        let mut families = self.families();
        // Dashboards and rules read the table's metrics: nobody's own takes the name of one.
        families.sort_by_key(|family| (!family.is_known(), family.born));
        let mut taken = HashSet::new();
        families.retain(|family| self.claim(family, &mut taken));
        families.push(self.refusals());
        families.sort_by(|one, other| one.name.cmp(&other.name));
        written(&families)
    }

    fn families(&self) -> Vec<Family> {
        let now = nanos(self.epoch.elapsed());
        let mut found = Vec::new();
        let registry = &self.registry;
        // A series whose handle somebody holds is left out while it is idle, and comes back with its next value;
        // forgetting it would lose everything that is recorded through that handle.
        macro_rules! collect {
            ($kind:expr, $visit:ident, $retain:ident, $read:expr) => {
                if let Some(limit) = self.idle_nanos {
                    registry.$retain(|key, kept| {
                        let idle = kept.is_idle(now, limit);
                        if !idle {
                            found.extend(seen(key, $kind, kept, $read));
                        }
                        !idle || Arc::strong_count(kept) > 1
                    });
                } else {
                    registry.$visit(|key, kept| found.extend(seen(key, $kind, kept, $read)));
                }
            };
        }
        collect!(Kind::Counter, visit_counters, retain_counters, |value| {
            Some(Value::Count(value.load(Ordering::Relaxed)))
        });
        collect!(Kind::Gauge, visit_gauges, retain_gauges, |value| {
            value.read().map(Value::Level)
        });
        collect!(
            Kind::Histogram,
            visit_histograms,
            retain_histograms,
            |value| Some(Value::Spread(value.read()))
        );
        self.grouped(found)
    }

    fn grouped(&self, found: Vec<Seen>) -> Vec<Family> {
        let described = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut families: HashMap<(String, Kind), Family> = HashMap::new();
        for seen in found {
            let name = &seen.key.name().to_owned();
            if is_unfit(&seen.key, seen.kind) {
                self.refuse(
                    seen.kind,
                    name,
                    &exported(name),
                    "a metric is not exported because it has no name, or a label without a name or with one that \
                     Prometheus keeps for itself: rename it",
                );
                continue;
            }
            let make = || match described.get(&exported(name)) {
                Some((help, unit)) => Family::new(name, seen.kind, help, *unit),
                None => Family::new(name, seen.kind, "Recorded by the application.", None),
            };
            let family = families
                .entry((name.to_owned(), seen.kind))
                .or_insert_with(make);
            if family.add(seen.key, seen.born, seen.value) == Added::Blurred {
                self.refuse(
                    seen.kind,
                    &family.source,
                    &family.name,
                    "two series of a metric, or two labels of a series, are written alike and cannot be told apart: \
                     rename a label, or give it a value",
                );
            }
        }
        families.into_values().collect()
    }

    /// Whether the family may use its names; the one that was there first keeps them.
    fn claim(&self, family: &Family, taken: &mut HashSet<String>) -> bool {
        // A histogram is written under names of its own: `up_sum` and the like.
        if family.kind == Kind::Gauge && SYNTHETIC.contains(&&*family.name) {
            self.refuse(
                family.kind,
                &family.source,
                &family.name,
                "a metric is not exported because Prometheus writes one of its name for each target itself, and would \
                 keep this one instead: rename it",
            );
            return false;
        }
        let names = family.sample_names();
        if names.iter().all(|name| !taken.contains(name)) {
            taken.extend(names);
            return true;
        }
        self.refuse(
            family.kind,
            &family.source,
            &family.name,
            "a metric is not exported because another one has its name: rename one of the two",
        );
        false
    }

    /// Tells once for each metric and reason.
    fn refuse(&self, kind: Kind, metric: &str, exported: &str, why: &'static str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert((kind, metric.to_owned(), why)) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(target: "bilten_monitor", metric, exported, "{why}");
        }
    }

    fn refusals(&self) -> Family {
        let spec = &EXPORT_REJECTED;
        let mut family = Family::new(spec.name.otel, spec.kind, spec.help, spec.unit);
        let count = self.refused.load(Ordering::Relaxed);
        let key = Key::from_static_name(spec.name.otel);
        family.add(key, 0, Value::Count(count));
        family
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, help: SharedString) {
        self.described
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(exported(name.as_str()))
            .or_insert((help, unit));
    }
}

/// One series as a scrape found it.
struct Seen {
    key: Key,
    kind: Kind,
    born: u64,
    value: Value,
}

/// None when the series has no value.
fn seen<T>(
    key: &Key,
    kind: Kind,
    kept: &Kept<T>,
    read: impl FnOnce(&T) -> Option<Value>,
) -> Option<Seen> {
    Some(Seen {
        key: key.clone(),
        kind,
        born: kept.born,
        value: read(&kept.value)?,
    })
}

impl Recorder for TextRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        // One that is held is never forgotten, whatever `idle_timeout` says.
        lasting::say(self, Reach::Given);
        if let Some(kept) = self.registry.get_counter(key) {
            return Counter::from_arc(kept);
        }
        let key = key.to_retained();
        let make = |kept: &Arc<_>| Counter::from_arc(Arc::clone(kept));
        self.registry.get_or_create_counter(&key, make)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        // One that is held is never forgotten, whatever `idle_timeout` says.
        lasting::say(self, Reach::Given);
        if let Some(kept) = self.registry.get_gauge(key) {
            return Gauge::from_arc(kept);
        }
        let key = key.to_retained();
        let make = |kept: &Arc<_>| Gauge::from_arc(Arc::clone(kept));
        self.registry.get_or_create_gauge(&key, make)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        // One that is held is never forgotten, whatever `idle_timeout` says.
        lasting::say(self, Reach::Given);
        if let Some(kept) = self.registry.get_histogram(key) {
            return Histogram::from_arc(kept);
        }
        let key = key.to_retained();
        let make = |kept: &Arc<_>| Histogram::from_arc(Arc::clone(kept));
        self.registry.get_or_create_histogram(&key, make)
    }
}
