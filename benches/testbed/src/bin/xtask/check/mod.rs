//! `cargo xtask check`: everything that can be said about the code without running it.

mod lints;
mod modules;
mod names;
mod package;
mod paths;
mod sizes;
mod source;

use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::step::{Took, step};
use crate::workspace::Workspace;

pub(crate) const USAGE: &str = "cargo xtask check [NAME...]";

pub(crate) const OPTIONS: &str = "\
  NAME    only this check; a wrong name lists them";

/// One check: it prints what it finds and returns a line for the table.
struct Check {
    name: &'static str,
    what: &'static str,
    usual: &'static str,
    run: fn(&Workspace) -> Result<String, Failure>,
}

const CHECKS: [Check; 10] = [
    Check {
        name: "format",
        what: "formatting",
        usual: "1 s",
        run: lints::format,
    },
    Check {
        name: "modules",
        what: "import cycles between modules",
        usual: "1 s",
        run: modules::check,
    },
    Check {
        name: "sizes",
        what: "sizes of files and functions",
        usual: "1 s",
        run: sizes::check,
    },
    Check {
        name: "files",
        what: "file names",
        usual: "1 s",
        run: names::files,
    },
    Check {
        name: "roots",
        what: "names at the crates' roots",
        usual: "1 s",
        run: names::roots,
    },
    Check {
        name: "machine",
        what: "traces of one machine",
        usual: "1 s",
        run: names::machine,
    },
    Check {
        name: "manifests",
        what: "manifests and lock file",
        usual: "2 s",
        run: lints::manifests,
    },
    Check {
        name: "lints",
        what: "clippy on the feature sets that matter",
        usual: "5 min the first time, 30 s later",
        run: lints::clippy,
    },
    Check {
        name: "docs",
        what: "the API documentation",
        usual: "1 min the first time, 15 s later",
        run: lints::docs,
    },
    Check {
        name: "package",
        what: "the four packages as they would be published",
        usual: "5 s",
        run: package::check,
    },
];

/// Runs every check, or the named ones, and ends with a table; fails when one of them did.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<(), Failure> {
    let (names, _) = arguments.rest(USAGE)?;
    let known = CHECKS.map(|check| check.name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Failure::usage(format!("no check is called `{unknown}`"))
            .remedy(format!("one of {}", known.join(", "))));
    }
    let chosen = CHECKS
        .iter()
        .filter(|check| names.is_empty() || names.iter().any(|name| name == check.name));
    let outcomes: Vec<Outcome> = chosen.map(|check| Outcome::of(check, workspace)).collect();
    println!("\n{:<10} {:<7} {:>12}  note", "check", "result", "time");
    for outcome in &outcomes {
        println!("{outcome}");
    }
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.result.is_err())
        .map(|outcome| outcome.name)
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let again = format!("cargo xtask check {}", failed.join(" "));
    Err(Failure::new(format!(
        "{} of {} checks failed",
        failed.len(),
        outcomes.len()
    ))
    .remedy(format!("mend them, then `{again}`")))
}

struct Outcome {
    name: &'static str,
    took: Duration,
    result: Result<String, Failure>,
}

impl Outcome {
    fn of(check: &Check, workspace: &Workspace) -> Self {
        let start = Instant::now();
        let result = step(check.what, check.usual, || (check.run)(workspace));
        if let Err(failure) = &result {
            println!("    {failure}");
        }
        Self {
            name: check.name,
            took: start.elapsed(),
            result,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let took = Took(self.took).to_string();
        let (verdict, note) = match &self.result {
            Ok(note) => ("ok", note.clone()),
            Err(failure) => (
                "FAILED",
                failure
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ),
        };
        write!(f, "{:<10} {verdict:<7} {took:>12}  {note}", self.name)
    }
}
