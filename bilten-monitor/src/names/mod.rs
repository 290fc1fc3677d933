//! Every metric of the four crates: names, units, labels and help texts in one table.
//!
//! The page of the guide, the dashboard and the alert rules are written from it.

pub(crate) mod label;
mod listed;
mod own;
mod shown;
mod siblings;
mod spec;

pub(crate) use label::{OTHER, UNNAMED};
pub use listed::{Listed, listed};
pub(crate) use own::*;
pub(crate) use shown::{SYNTHETIC, exported, is_reserved, shown};
pub(crate) use siblings::{CACHE, DB, HEALTH};
pub(crate) use spec::{Kind, Spec};

/// Which names the metrics carry.
///
/// ```
/// use bilten_monitor::{Monitor, Naming};
///
/// // During a migration both families are written; each observation then costs one record more.
/// let monitor = Monitor::builder().naming(Naming::Both).build()?;
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// OpenTelemetry's semantic conventions: `http.server.request.duration`, `db.client.operation.duration`.
    #[default]
    OpenTelemetry,
    /// The short names: `http_request_duration{method,path,statusCode}`, `database_query_duration{query,status}`.
    Short,
    /// Both, for the time of a migration.
    Both,
}

impl Naming {
    pub(crate) fn families(self) -> &'static [Family] {
        match self {
            Self::OpenTelemetry => &[Family::OpenTelemetry],
            Self::Short => &[Family::Short],
            Self::Both => &[Family::OpenTelemetry, Family::Short],
        }
    }
}

/// One of the two sets of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    OpenTelemetry,
    Short,
}

/// A name in both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) otel: &'static str,
    pub(crate) short: &'static str,
}

impl Pair {
    pub(crate) const fn of(self, family: Family) -> &'static str {
        match family {
            Family::OpenTelemetry => self.otel,
            Family::Short => self.short,
        }
    }
}

const fn pair(otel: &'static str, short: &'static str) -> Pair {
    Pair { otel, short }
}

/// A name that both families share.
const fn same(name: &'static str) -> Pair {
    pair(name, name)
}

/// Every metric of every crate, in the order of the documentation.
pub(crate) fn all() -> impl Iterator<Item = &'static Spec> {
    [OWN, CACHE, DB, HEALTH].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn no_two_metrics_are_exported_under_one_name() {
        for family in [Family::OpenTelemetry, Family::Short] {
            let mut seen = HashMap::new();
            for spec in all() {
                let name = shown(spec.name.of(family), spec.kind, spec.unit);
                assert_eq!(seen.insert(name, spec.name), None, "{:?}", spec.name);
            }
        }
    }

    #[test]
    fn a_name_that_the_families_share_is_the_same_metric() {
        for spec in all() {
            let others = all().filter(|other| other.name != spec.name);
            for other in others {
                assert_ne!(exported(spec.name.otel), exported(other.name.short));
            }
        }
    }

    #[test]
    fn every_histogram_has_rising_buckets_and_nothing_else_has_any() {
        for spec in all() {
            let is_histogram = spec.kind == Kind::Histogram;
            assert_eq!(spec.buckets.is_empty(), !is_histogram, "{:?}", spec.name);
            let rises = spec.buckets.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(rises, "{:?}", spec.name);
        }
    }

    #[test]
    fn every_help_text_is_a_sentence() {
        for spec in all() {
            assert!(
                spec.help.ends_with('.') && spec.help.len() > 10,
                "{:?}",
                spec.name
            );
        }
    }
}
