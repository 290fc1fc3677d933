//! The table of metrics is right about the crates that do not know it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bilten_monitor::Naming;
use bilten_monitor::metric::listed;

/// Every quoted text in the crate's sources that is a metric's name.
fn emitted(package: &str, prefixes: &[&str]) -> BTreeSet<String> {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(package)
        .join("src");
    let mut names = BTreeSet::new();
    collect(&source, &mut |text| {
        let quoted = text.split('"').skip(1).step_by(1);
        names.extend(
            quoted
                .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
                .filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
                .map(str::to_owned),
        );
    });
    names
}

fn collect(directory: &Path, read: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, read);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&fs::read_to_string(&path).expect("a source file"));
        }
    }
}

#[test]
fn every_metric_of_every_crate_is_in_the_table_and_nothing_else_is() {
    let crates: [(&str, &[&str]); 3] = [
        ("bilten-cache", &["bilten_cache_"]),
        ("bilten-db", &["bilten_db_"]),
        ("bilten-health", &["bilten_health_", "health_"]),
    ];
    let all = listed(Naming::OpenTelemetry);
    let mut faults = Vec::new();
    for (package, prefixes) in crates {
        let known: BTreeSet<String> = all
            .iter()
            .filter(|metric| metric.emitted_by == package)
            .map(|metric| metric.name.clone())
            .collect();
        let found = emitted(package, prefixes);
        let missing: Vec<_> = found.difference(&known).collect();
        let gone: Vec<_> = known.difference(&found).collect();
        if !missing.is_empty() || !gone.is_empty() {
            faults.push(format!(
                "{package}: not in the table: {missing:?}; no longer emitted: {gone:?}"
            ));
        }
    }
    assert!(
        faults.is_empty(),
        "mend src/names/siblings.rs of bilten-monitor, then run the tests with BILTEN_WRITE=1: {faults:#?}"
    );
}
