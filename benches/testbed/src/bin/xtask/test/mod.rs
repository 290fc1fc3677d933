//! `cargo xtask test`: every test, on real servers, and one line at the end that says how it went.

mod floors;
mod summary;

use std::fmt;
use std::fs;
use std::io::IsTerminal;
use std::process::Command;

use crate::arguments::Arguments;
use crate::doctor;
use crate::failure::Failure;
use crate::machine;
use crate::servers::{self, Servers};
use crate::step::{run as run_program, step, tee};
use crate::workspace::Workspace;
use summary::Suites;

pub(crate) use summary::Counts;

pub(crate) const USAGE: &str = "cargo xtask test [--quick] [FILTER...]";

/// What was asked for on the command line.
struct Wanted {
    /// Unit and doc tests only: nothing that needs a server.
    quick: bool,
    /// Parts of test names; every test when empty.
    filters: Vec<String>,
}

/// Runs the tests and the doc tests, prints what each package ran, and ends with `N passed, N failed, N skipped`.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<(), Failure> {
    let report = report(workspace, arguments)?;
    let verdict = report.verdict();
    if let Err(failure) = &verdict {
        println!("{failure}");
    }
    println!("{}", report.total());
    verdict.map_err(|_| Failure::told())
}

/// Everything but the last line.
pub(crate) fn report(workspace: &Workspace, mut arguments: Arguments) -> Result<Report, Failure> {
    let quick = arguments.flag("--quick");
    let (filters, after) = arguments.rest(USAGE)?;
    if !after.is_empty() {
        return Err(Failure::usage("nothing can follow `--`").remedy(USAGE));
    }
    let wanted = Wanted { quick, filters };
    doctor::ready_to_build(workspace)?;
    if quick {
        println!(
            "--quick: unit and doc tests only; the integration tests and their servers are left out"
        );
    } else {
        servers::make_ready()?;
    }
    let runner = Runner::find(workspace)?;
    step(
        "compile the tests",
        "6 min the first time, 10 s later",
        || run_program(&mut runner.compile(&wanted)),
    )?;
    let servers = if quick { None } else { Some(Servers::start()?) };
    let environment = servers
        .as_ref()
        .map(Servers::environment)
        .unwrap_or_default();
    let mut outcome = step("tests", "2 min", || runner.tests(&wanted, &environment))?;
    let doc = step(
        "doc tests, with those of the README files and the guide",
        "1 min",
        || runner.doc_tests(&wanted, &environment),
    )?;
    outcome.add(doc);
    let report = Report { wanted, outcome };
    println!("\n{report}");
    Ok(report)
}

/// What the runners said, and whether they were content.
struct Outcome {
    suites: Suites,
    /// Tests that a runner counts but gives no package for.
    also_skipped: usize,
    succeeded: bool,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        for (suite, counts) in other.suites {
            *self.suites.entry(suite).or_default() += counts;
        }
        self.also_skipped += other.also_skipped;
        self.succeeded &= other.succeeded;
    }
}

/// A whole run, as a table.
pub(crate) struct Report {
    wanted: Wanted,
    outcome: Outcome,
}

impl Report {
    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts {
            skipped: self.outcome.also_skipped,
            ..Counts::default()
        };
        self.outcome
            .suites
            .values()
            .for_each(|counts| total += *counts);
        total
    }

    /// Fails on a failed test, a discontented runner, a suite that shrank, or a filter that fits nothing.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let Wanted { quick, filters } = &self.wanted;
        let shrunk = if filters.is_empty() {
            floors::too_few(&self.outcome.suites, *quick)
        } else {
            Vec::new()
        };
        if self.total().failed > 0 || !self.outcome.succeeded {
            Err(Failure::new("tests failed; the runner's words are above"))
        } else if !shrunk.is_empty() {
            let failure = Failure::new(format!("too few tests: {}", shrunk.join("; ")));
            Err(failure.remedy(
                "find out why they are not run; the numbers are in the xtask's test/floors.rs",
            ))
        } else if self.total().ran() == 0 {
            Err(Failure::new(format!(
                "no test's name contains {}",
                filters.join(" or ")
            )))
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28} {:>6} {:>6} {:>7}",
            "suite", "passed", "failed", "skipped"
        )?;
        for (suite, counts) in self
            .outcome
            .suites
            .iter()
            .filter(|(_, counts)| **counts != Counts::default())
        {
            writeln!(
                f,
                "{suite:<28} {:>6} {:>6} {:>7}",
                counts.passed, counts.failed, counts.skipped
            )?;
        }
        Ok(())
    }
}

/// Builds and runs tests: by nextest when it is installed, else by `cargo test`.
struct Runner<'a> {
    workspace: &'a Workspace,
    features: String,
    nextest: bool,
}

impl<'a> Runner<'a> {
    fn find(workspace: &'a Workspace) -> Result<Self, Failure> {
        let version =
            machine::first_line(Command::new("cargo-nextest").args(["nextest", "--version"]));
        match &version {
            Some(version) => println!("runner: {version}"),
            None => {
                println!("runner: cargo test (cargo-nextest is not installed; it would be faster)")
            }
        }
        Ok(Self {
            workspace,
            features: workspace.test_features()?,
            nextest: version.is_some(),
        })
    }

    /// The same packages and features everywhere, so that nothing is compiled twice.
    fn command(&self, words: &[&str], wanted: &Wanted) -> Command {
        let mut command = self.workspace.cargo();
        command.args(words).args([
            "--workspace",
            "--exclude",
            crate::workspace::PEERS,
            "--features",
            &self.features,
        ]);
        if wanted.quick && !words.contains(&"--doc") {
            command.args(["--lib", "--bins"]);
        }
        command
    }

    fn compile(&self, wanted: &Wanted) -> Command {
        let words: &[&str] = if self.nextest {
            &["nextest", "run", "--no-run"]
        } else {
            &["test", "--no-run"]
        };
        self.command(words, wanted)
    }

    fn tests(&self, wanted: &Wanted, environment: &[(&str, String)]) -> Result<Outcome, Failure> {
        if !self.nextest {
            let mut command = self.command(&["test", "--no-fail-fast"], wanted);
            command
                .envs(environment.iter().cloned())
                .arg("--")
                .args(&wanted.filters);
            return libtest(&colourful(command));
        }
        let report = self
            .workspace
            .root()
            .join("target/nextest/default/junit.xml");
        // An old report must not be taken for this run's.
        let _ = fs::remove_file(&report);
        let mut command = self.command(
            &["nextest", "run", "--no-fail-fast", "--no-tests", "pass"],
            wanted,
        );
        command
            .envs(environment.iter().cloned())
            .args(&wanted.filters);
        let (succeeded, output) = tee(&colourful(command))?;
        let suites = summary::from_junit(&fs::read_to_string(&report).unwrap_or_default());
        Ok(Outcome {
            suites,
            also_skipped: summary::skipped_by_nextest(&output),
            succeeded,
        })
    }

    fn doc_tests(
        &self,
        wanted: &Wanted,
        environment: &[(&str, String)],
    ) -> Result<Outcome, Failure> {
        let mut command = self.command(&["test", "--doc", "--no-fail-fast"], wanted);
        command
            .envs(environment.iter().cloned())
            .arg("--")
            .args(&wanted.filters);
        libtest(&command)
    }
}

fn libtest(command: &Command) -> Result<Outcome, Failure> {
    let (succeeded, output) = tee(command)?;
    Ok(Outcome {
        suites: summary::from_libtest(&output),
        also_skipped: 0,
        succeeded,
    })
}

/// The runner sees a pipe; a person may still sit at the other end of it.
fn colourful(mut command: Command) -> Command {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}
