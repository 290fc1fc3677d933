//! The table for those who read it: pages, tools, other recorders.

use super::{CACHE, DB, HEALTH, Naming, OWN, Spec, exported, shown};

/// A metric that a crate of this family emits, as Prometheus shows it.
///
/// ```
/// use bilten_monitor::{Naming, metric};
///
/// let listed = metric::listed(Naming::OpenTelemetry);
/// let requests = listed.iter().find(|metric| metric.name == "http_server_request_duration_seconds");
/// assert_eq!(requests.map(|metric| metric.kind), Some("histogram"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The crate that emits it.
    pub emitted_by: &'static str,
    /// The name with its unit, and with `_total` when it counts.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels; one without a value is left out of a series.
    pub labels: Vec<String>,
    /// What it means.
    pub help: &'static str,
}

/// Every metric of the four crates, in the order of the guide.
#[must_use]
pub fn listed(naming: Naming) -> Vec<Listed> {
    let crates: [(&str, &[Spec]); 4] = [
        ("bilten-monitor", OWN),
        ("bilten-cache", CACHE),
        ("bilten-db", DB),
        ("bilten-health", HEALTH),
    ];
    let mut all: Vec<Listed> = Vec::new();
    for (emitted_by, specs) in crates {
        for spec in specs {
            for family in naming.families() {
                let listed = Listed {
                    emitted_by,
                    name: shown(spec.name.of(*family), spec.kind, spec.unit),
                    kind: spec.kind.label(),
                    labels: spec
                        .labels
                        .iter()
                        .map(|label| exported(label.of(*family)))
                        .collect(),
                    help: spec.help,
                };
                if !all.contains(&listed) {
                    all.push(listed);
                }
            }
        }
    }
    all
}
