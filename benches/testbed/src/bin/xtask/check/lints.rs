//! What Rust's own tools say: rustfmt, cargo, clippy, rustdoc.

use crate::failure::Failure;
use crate::machine;
use crate::step::{run, tee};
use crate::workspace::{PUBLISHED, Package, Workspace};

/// `cargo fmt --check` for every package.
pub(super) fn format(workspace: &Workspace) -> Result<String, Failure> {
    let checked = run(workspace.cargo().args(["fmt", "--all", "--", "--check"]));
    checked.map_err(|failure| failure.remedy("cargo fmt --all"))?;
    Ok("every package".to_owned())
}

/// Cargo's own warnings (an unknown key, a feature that is not there) and a lock file that does not fit.
pub(super) fn manifests(workspace: &Workspace) -> Result<String, Failure> {
    let mut fetch = workspace.cargo();
    fetch.args(["fetch", "--locked", "--color", "never"]);
    // Without it cargo fetches for every system there is.
    if let Some(host) = machine::host_triple() {
        fetch.args(["--target", &host]);
    }
    let (fetched, output) = tee(&fetch)?;
    let warnings: Vec<_> = output
        .lines()
        .filter(|line| line.starts_with("warning:") || line.starts_with("error"))
        .collect();
    if fetched && warnings.is_empty() {
        return Ok("no warning, lock file fits".to_owned());
    }
    let failure = Failure::new(
        warnings
            .first()
            .copied()
            .unwrap_or("cargo fetch --locked failed"),
    );
    Err(failure.remedy("mend the manifest, or commit the Cargo.lock that `cargo check` writes"))
}

/// Clippy with every warning an error, on each set of features somebody may build.
pub(super) fn clippy(workspace: &Workspace) -> Result<String, Failure> {
    let sets = feature_sets(&workspace.packages()?);
    let mut failed = Vec::new();
    for set in &sets {
        let mut clippy = workspace.cargo();
        clippy
            .args(["clippy", "--keep-going"])
            .args(set)
            .args(["--", "-D", "warnings"]);
        println!("  {}", set.join(" "));
        if run(&mut clippy).is_err() {
            failed.push(set.join(" "));
        }
    }
    if failed.is_empty() {
        return Ok(format!("{} feature sets", sets.len()));
    }
    Err(Failure::new(format!(
        "clippy has complaints with: {}",
        failed.join("; ")
    )))
}

/// The arguments that choose packages, targets and features, the largest build first.
fn feature_sets(packages: &[Package]) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    // Libraries alone: with their tests, the features of those would hide what a library forgot to ask for.
    let mut defaults = words("--lib");
    defaults.extend(
        PUBLISHED
            .iter()
            .flat_map(|name| ["-p".to_owned(), (*name).to_owned()]),
    );
    let mut sets = vec![words("--workspace --all-targets --all-features"), defaults];
    for package in packages
        .iter()
        .filter(|package| PUBLISHED.contains(&package.name.as_str()))
    {
        let name = &package.name;
        if !package.features.is_empty() {
            sets.push(words(&format!("-p {name} --lib --no-default-features")));
        }
    }
    sets
}

/// rustdoc with every warning an error.
pub(super) fn docs(workspace: &Workspace) -> Result<String, Failure> {
    let mut doc = workspace.cargo();
    doc.args([
        "doc",
        "--no-deps",
        "--lib",
        "--all-features",
        "-p",
        "bilten-testbed",
    ]);
    doc.args(PUBLISHED.iter().flat_map(|name| ["-p", name]))
        .env("RUSTDOCFLAGS", "-D warnings");
    run(&mut doc)?;
    Ok(format!("{} crates and the testbed", PUBLISHED.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, features: &[&str]) -> Package {
        let features = features
            .iter()
            .map(|feature| (*feature).to_owned())
            .collect();
        Package {
            name: name.to_owned(),
            folder: name.into(),
            features,
        }
    }

    #[test]
    fn every_published_crate_with_features_is_linted_without_them() {
        let packages = [
            package("bilten-cache", &["default", "fred"]),
            package("bilten-db", &[]),
            package("bilten-health", &["default", "axum"]),
            package("bilten-events", &["default"]),
        ];
        let sets: Vec<_> = feature_sets(&packages)
            .iter()
            .map(|set| set.join(" "))
            .collect();
        assert_eq!(
            sets[1..],
            [
                "--lib -p bilten-cache -p bilten-db -p bilten-monitor -p bilten-health",
                "-p bilten-cache --lib --no-default-features",
                "-p bilten-health --lib --no-default-features",
            ]
        );
    }
}
