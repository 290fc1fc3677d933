//! Where the checkout is and what its manifests say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::version::Version;

/// The crates that are published; the other packages are for their tests, examples and benchmarks.
pub(crate) const PUBLISHED: [&str; 4] = [
    "bilten-cache",
    "bilten-db",
    "bilten-monitor",
    "bilten-health",
];

/// Other caches on the same work: many dependencies that nothing else needs, so only some commands build it.
pub(crate) const PEERS: &str = "bilten-peers";
/// Other HTTP layers on the same work, likewise.
pub(crate) const HTTP_PEERS: &str = "bilten-http-peers";

/// Features that no test of a normal run needs and that cost many dependencies.
const NOT_TESTED: [&str; 1] = ["bilten-testbed/docker"];

/// The checkout this binary was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// One package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) features: Vec<String>,
}

impl Workspace {
    /// Finds the root above the testbed's manifest.
    pub(crate) fn find() -> Result<Self, Failure> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = here.ancestors().find(|folder| {
            fs::read_to_string(folder.join("Cargo.toml"))
                .is_ok_and(|text| text.contains("[workspace]"))
        });
        match root {
            Some(root) => Ok(Self {
                root: root.to_owned(),
            }),
            None => Err(Failure::new("found no workspace manifest")
                .remedy("run `cargo xtask` inside the checkout")),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `cargo` at the root, the one that runs this binary when there is one.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        command
    }

    /// The oldest Rust that the manifests allow.
    pub(crate) fn rust_version(&self) -> Result<Version, Failure> {
        let text = self.read(Path::new("Cargo.toml"))?;
        value_of(&text, "workspace.package", "rust-version")
            .and_then(Version::find)
            .ok_or_else(|| {
                Failure::new("Cargo.toml names no rust-version under [workspace.package]")
            })
    }

    /// Every member, in the manifest's order.
    pub(crate) fn packages(&self) -> Result<Vec<Package>, Failure> {
        let text = self.read(Path::new("Cargo.toml"))?;
        members(&text)
            .into_iter()
            .map(|member| {
                let manifest = self.read(&Path::new(member).join("Cargo.toml"))?;
                let name = value_of(&manifest, "package", "name")
                    .unwrap_or(member)
                    .to_owned();
                Ok(Package {
                    name,
                    folder: self.root.join(member),
                    features: keys_of(&manifest, "features"),
                })
            })
            .collect()
    }

    /// The arguments that choose what tests build, of every package or of those named: the same for each step of a run,
    /// so that nothing is compiled twice.
    pub(crate) fn test_selection(&self, only: &[String]) -> Result<Vec<String>, Failure> {
        Ok(test_selection(&self.packages()?, only))
    }

    /// The benchmarks that `cargo bench` knows by name, in the manifest's order.
    pub(crate) fn benchmarks(&self) -> Result<Vec<String>, Failure> {
        Ok(benchmarks(&self.read(Path::new("benches/Cargo.toml"))?))
    }

    /// Every file of the checkout except build output, packages of other tools and the history.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).map_err(|error| unreadable(&folder, &error))?;
            for entry in entries {
                let path = entry.map_err(|error| unreadable(&folder, &error))?.path();
                match (path.is_symlink(), path.is_dir()) {
                    (true, _) => {}
                    (false, true) if !is_output(&path) => folders.push(path),
                    (false, true) => {}
                    // In a linked worktree it is a file that says where the history is.
                    (false, false) if path.ends_with(".git") => {}
                    (false, false) => found.push(path),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// A path as it is written in a report: from the root on.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    fn read(&self, path: &Path) -> Result<String, Failure> {
        fs::read_to_string(self.root.join(path)).map_err(|error| unreadable(path, &error))
    }
}

fn test_selection(packages: &[Package], only: &[String]) -> Vec<String> {
    let all = ["--workspace", "--exclude", PEERS, "--exclude", HTTP_PEERS].map(str::to_owned);
    let named = only.iter().flat_map(|name| ["-p".to_owned(), name.clone()]);
    let chosen = |package: &&Package| match only {
        [] => package.name != PEERS && package.name != HTTP_PEERS,
        only => only.contains(&package.name),
    };
    let mut selection: Vec<String> = if only.is_empty() {
        all.into()
    } else {
        named.collect()
    };
    let features = test_features(packages.iter().filter(chosen));
    if !features.is_empty() {
        selection.extend(["--features".to_owned(), features]);
    }
    selection
}

fn test_features<'a>(tested: impl Iterator<Item = &'a Package>) -> String {
    let features = tested.flat_map(|package| {
        package
            .features
            .iter()
            .map(|feature| format!("{}/{feature}", package.name))
    });
    features
        .filter(|feature| !feature.ends_with("/default") && !NOT_TESTED.contains(&feature.as_str()))
        .collect::<Vec<_>>()
        .join(",")
}

pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}", path.display()))
}

/// What `.gitignore` leaves out.
fn is_output(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name == ".git" || name == "node_modules" || name.starts_with("target")
}

/// The lines of one `[table]`, without the blank ones and comments.
fn table<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let header = format!("[{name}]");
    manifest
        .lines()
        .map(str::trim)
        .skip_while(move |line| *line != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn keys_of(manifest: &str, name: &str) -> Vec<String> {
    let keys = table(manifest, name)
        .filter_map(|line| Some(line.split_once('=')?.0.trim().trim_matches('"').to_owned()));
    keys.filter(|key| {
        !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "-_".contains(c))
    })
    .collect()
}

fn benchmarks(manifest: &str) -> Vec<String> {
    let tables = manifest.split("[[bench]]").skip(1);
    let names = tables.filter_map(|table| table.split("name = \"").nth(1)?.split('"').next());
    names.map(str::to_owned).collect()
}

fn value_of<'a>(manifest: &'a str, name: &str, key: &str) -> Option<&'a str> {
    table(manifest, name).find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found.trim() == key).then(|| value.split('"').nth(1))?
    })
}

fn members(manifest: &str) -> Vec<&str> {
    let Some((_, list)) = manifest.split_once("members = [") else {
        return Vec::new();
    };
    let list = list.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
[workspace]
members = [
    "one",
    "two/three",
]
[workspace.package]
rust-version = "1.94" # why
[package]
name = "one"
[features]
default = ["memory"]
# in the process
memory = ["dep:moka"]
redis = [
    "dep:fred",
]
[dependencies]
moka = "1"
"#;

    #[test]
    fn the_manifest_is_read_as_far_as_it_is_needed() {
        assert_eq!(members(MANIFEST), ["one", "two/three"]);
        assert_eq!(
            value_of(MANIFEST, "workspace.package", "rust-version"),
            Some("1.94")
        );
        assert_eq!(value_of(MANIFEST, "package", "name"), Some("one"));
        assert_eq!(
            keys_of(MANIFEST, "features"),
            ["default", "memory", "redis"]
        );
    }

    #[test]
    fn tests_build_every_feature_but_the_costly_ones() {
        let package = |name: &str, features: &[&str]| Package {
            name: name.to_owned(),
            folder: name.into(),
            features: features
                .iter()
                .map(|feature| (*feature).to_owned())
                .collect(),
        };
        let packages = [
            package("bilten-cache", &["default", "redis", "json"]),
            package("bilten-testbed", &["docker", "proxy"]),
            package("bilten-peers", &["all"]),
            package("bilten-http-peers", &["all"]),
            package("bilten-db", &["default"]),
        ];
        let selection = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            test_selection(&packages, &only).join(" ")
        };
        assert_eq!(
            selection(&[]),
            "--workspace --exclude bilten-peers --exclude bilten-http-peers \
             --features bilten-cache/redis,bilten-cache/json,bilten-testbed/proxy"
        );
        // A feature of a package that is not chosen would be an error.
        assert_eq!(
            selection(&["bilten-testbed", "bilten-db"]),
            "-p bilten-testbed -p bilten-db --features bilten-testbed/proxy"
        );
        assert_eq!(selection(&["bilten-db"]), "-p bilten-db");
    }

    #[test]
    fn what_says_where_the_history_is_belongs_to_no_checkout() {
        let root = std::env::temp_dir().join(format!("bilten-linked-{}", std::process::id()));
        fs::create_dir(&root).expect("a folder of its own");
        for name in [".git", "target.rs"] {
            fs::write(root.join(name), "gitdir: elsewhere").expect("a file");
        }
        let workspace = Workspace { root: root.clone() };
        let found = workspace.files().expect("a readable folder");
        fs::remove_dir_all(&root).expect("it is ours");
        assert_eq!(found, [root.join("target.rs")]);
    }

    #[test]
    fn benchmarks_are_known_by_their_names() {
        let manifest = "[lib]\nbench = false\n[[bench]]\nname = \"one\"\nharness = false\n\n[[bench]]\nname = \"two\"\n[lints]\n";
        assert_eq!(benchmarks(manifest), ["one", "two"]);
        let workspace = Workspace::find().expect("tests run inside the checkout");
        let names = workspace.benchmarks().expect("a readable manifest");
        assert!(names.iter().any(|name| name == "l1_hit"), "{names:?}");
    }

    #[test]
    fn this_checkout_has_the_four_crates() {
        let workspace = Workspace::find().expect("tests run inside the checkout");
        let packages = workspace.packages().expect("readable manifests");
        for name in PUBLISHED {
            assert!(
                packages.iter().any(|package| package.name == name),
                "{name}"
            );
        }
    }
}
