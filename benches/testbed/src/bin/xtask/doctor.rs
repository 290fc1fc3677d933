//! `cargo xtask doctor`: what this machine has, what it lacks, and the line that mends it.

use std::process::Command;

use bilten_testbed::install::{self, Plan};
use bilten_testbed::{Service, Source, sources};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::machine;
use crate::version::Version;
use crate::workspace::Workspace;

pub(crate) const USAGE: &str = "cargo xtask doctor";

const OPEN_FILES: u64 = 1024;
const FREE_GIB: u64 = 12;

/// What one look found.
struct Finding {
    name: &'static str,
    need: Need,
    /// What is there, or what is wrong and the line that mends it.
    state: Result<String, Missing>,
}

struct Missing {
    what: String,
    line: String,
}

/// What a missing thing stops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing builds without it.
    Everything,
    /// `cargo xtask test`, `bench` and `demo --servers`.
    Servers,
    /// Nothing: the commands do without it.
    Nothing,
}

/// Prints the table; fails when `demo` or `test` would not work.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<(), Failure> {
    arguments.none_left(USAGE)?;
    let findings: Vec<Finding> = building(workspace)?
        .into_iter()
        .chain(servers())
        .chain(extras(workspace))
        .collect();
    for finding in &findings {
        println!("{}", finding.line());
    }
    stop_if_missing(&findings)?;
    println!("\n`cargo xtask demo` and `cargo xtask test` will work on this machine.");
    Ok(())
}

/// The quick part, before a build starts: stops at the first thing without which nothing builds.
pub(crate) fn ready_to_build(workspace: &Workspace) -> Result<(), Failure> {
    stop_if_missing(&building(workspace)?)
}

fn stop_if_missing(findings: &[Finding]) -> Result<(), Failure> {
    let needed = findings
        .iter()
        .filter(|finding| finding.need != Need::Nothing);
    match needed
        .filter_map(|finding| Some((finding.name, finding.state.as_ref().err()?)))
        .next()
    {
        Some((name, missing)) => {
            Err(Failure::missing(format!("{name}: {}", missing.what)).remedy(missing.line.clone()))
        }
        None => Ok(()),
    }
}

impl Finding {
    fn line(&self) -> String {
        match (&self.state, self.need) {
            (Ok(there), _) => format!("ok        {:<14} {there}", self.name),
            (Err(missing), Need::Nothing) => format!(
                "optional  {:<14} {}; {}",
                self.name, missing.what, missing.line
            ),
            (Err(missing), _) => format!(
                "MISSING   {:<14} {}\n          {:<14} {}",
                self.name, missing.what, "", missing.line
            ),
        }
    }
}

fn building(workspace: &Workspace) -> Result<Vec<Finding>, Failure> {
    let wanted = workspace.rust_version()?;
    let rustc = match machine::first_line(Command::new("rustc").arg("--version"))
        .as_deref()
        .and_then(Version::find)
    {
        Some(found) if found >= wanted => Ok(format!("{found} ({wanted} or newer)")),
        Some(found) => Err(Missing {
            what: format!("{found} is older than {wanted}"),
            line: "rustup update stable".to_owned(),
        }),
        None => Err(Missing {
            what: format!("not found; {wanted} or newer is needed"),
            line: "install rustup, then `rustup default stable`".to_owned(),
        }),
    };
    let compiler = match machine::first_line(Command::new("cc").arg("--version")) {
        Some(version) => Ok(version),
        None => Err(Missing {
            what: "no C compiler; SQLite and the linker need one".to_owned(),
            line: machine::install_line(["gcc libc6-dev", "gcc", "gcc"]),
        }),
    };
    Ok(vec![
        Finding {
            name: "rustc",
            need: Need::Everything,
            state: rustc,
        },
        Finding {
            name: "cc",
            need: Need::Everything,
            state: compiler,
        },
    ])
}

/// Where the tests' servers come from. One that `cargo xtask test` can install itself is not missing.
fn servers() -> Vec<Finding> {
    let ready = |source: &Source| {
        let installs_itself = matches!(install::plan(), Plan::Run(_));
        if source.is_available() || installs_itself {
            Ok(format!("{}: {}", source.origin(), source.detail()))
        } else {
            Err(Missing {
                what: "nowhere to be found".to_owned(),
                line: source.detail().trim_start_matches("type: ").to_owned(),
            })
        }
    };
    let name = |source: &Source| match source.service() {
        Service::Redis => "redis",
        Service::Postgres => "postgresql",
        Service::MariaDb => "mariadb",
        _ => "prometheus",
    };
    let all = sources();
    all.iter()
        .map(|source| Finding {
            name: name(source),
            need: Need::Servers,
            state: ready(source),
        })
        .collect()
}

fn extras(workspace: &Workspace) -> Vec<Finding> {
    let nextest = "tests run with `cargo test` instead; cargo install --locked cargo-nextest";
    vec![
        program("cargo-nextest", &["nextest", "--version"], nextest),
        limit(
            "open files",
            machine::open_files(),
            OPEN_FILES,
            "at once",
            "ulimit -n 4096",
        ),
        limit(
            "disk",
            machine::free_gib(workspace.root()),
            FREE_GIB,
            "GiB free",
            "cargo clean, or free some space",
        ),
        docker(),
        program(
            "node",
            &["--version"],
            "only tests of the pages need it; cargo xtask test installs it, or says how",
        ),
        program(
            "chromium",
            &["--version"],
            "only tests of the pages need it; cargo xtask test installs it, or says how",
        ),
    ]
}

/// An engine that answers could give the servers too.
fn docker() -> Finding {
    let answer = machine::first_line(Command::new("timeout").args([
        "2",
        "docker",
        "version",
        "--format",
        "{{.Server.Version}}",
    ]));
    let missing = || Missing {
        what: "no engine answers".to_owned(),
        line: "the tests use local programs".to_owned(),
    };
    Finding {
        name: "docker",
        need: Need::Nothing,
        state: answer.ok_or_else(missing),
    }
}

/// A program that is optional.
fn program(name: &'static str, arguments: &[&str], line: &str) -> Finding {
    let found = machine::first_line(Command::new(name).args(arguments));
    let missing = || Missing {
        what: "not found".to_owned(),
        line: line.to_owned(),
    };
    Finding {
        name,
        need: Need::Nothing,
        state: found.ok_or_else(missing),
    }
}

/// An amount that had better be large enough.
fn limit(name: &'static str, found: Option<u64>, wanted: u64, unit: &str, line: &str) -> Finding {
    let missing = |what| {
        Err(Missing {
            what,
            line: line.to_owned(),
        })
    };
    let state = match found {
        Some(found) if found >= wanted => Ok(format!("{found} {unit}")),
        Some(found) => missing(format!("{found} {unit}, {wanted} wanted")),
        None => missing("cannot be read".to_owned()),
    };
    Finding {
        name,
        need: Need::Nothing,
        state,
    }
}
