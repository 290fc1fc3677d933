//! nextest or `cargo test`, on one choice of packages and features.

use std::fs;
use std::io::IsTerminal;
use std::process::Command;

use super::summary::{self, Suites};
use crate::failure::Failure;
use crate::machine;
use crate::step::tee;
use crate::workspace::{Package, Workspace};

/// What was asked for on the command line.
pub(super) struct Wanted {
    /// Unit and doc tests only: nothing that needs a server.
    pub(super) quick: bool,
    /// A test that fails gets a second try.
    pub(super) retry: bool,
    /// The packages whose tests run; all when empty.
    pub(super) packages: Vec<String>,
    /// Parts of test names; every test when empty.
    pub(super) filters: Vec<String>,
}

impl Wanted {
    /// A word that is a package's name chooses that package; any other is a part of a test's name.
    pub(super) fn of(words: Vec<String>, packages: &[Package]) -> Self {
        let is_package = |word: &String| packages.iter().any(|package| package.name == *word);
        let (packages, filters) = words.into_iter().partition(is_package);
        Self {
            quick: false,
            retry: false,
            packages,
            filters,
        }
    }

    pub(super) fn is_everything(&self) -> bool {
        self.packages.is_empty() && self.filters.is_empty()
    }
}

/// What the runners said, and whether they were content.
pub(super) struct Outcome {
    pub(super) suites: Suites,
    /// Tests that a runner counts but gives no package for.
    pub(super) also_skipped: usize,
    pub(super) succeeded: bool,
    /// The names of the tests that ran.
    pub(super) names: Vec<String>,
    /// The names of those that passed only at their second try.
    pub(super) retried: Vec<String>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        for (suite, counts) in other.suites {
            *self.suites.entry(suite).or_default() += counts;
        }
        self.also_skipped += other.also_skipped;
        self.names.extend(other.names);
        self.retried.extend(other.retried);
        self.succeeded &= other.succeeded;
    }
}

/// Builds and runs tests: by nextest when it is installed, else by `cargo test`.
pub(super) struct Runner<'a> {
    workspace: &'a Workspace,
    selection: Vec<String>,
    nextest: bool,
}

impl<'a> Runner<'a> {
    pub(super) fn find(workspace: &'a Workspace, wanted: &Wanted) -> Result<Self, Failure> {
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
            selection: workspace.test_selection(&wanted.packages)?,
            nextest: version.is_some(),
        })
    }

    /// The same packages and features everywhere, so that nothing is compiled twice.
    fn command(&self, words: &[&str], wanted: &Wanted) -> Command {
        let mut command = self.workspace.cargo();
        command.args(words).args(&self.selection);
        if wanted.quick && !words.contains(&"--doc") {
            command.args(["--lib", "--bins"]);
        }
        command
    }

    pub(super) fn compile(&self, wanted: &Wanted) -> Command {
        let words: &[&str] = if self.nextest {
            &["nextest", "run", "--no-run"]
        } else {
            &["test", "--no-run"]
        };
        self.command(words, wanted)
    }

    pub(super) fn tests(
        &self,
        wanted: &Wanted,
        environment: &[(&str, String)],
    ) -> Result<Outcome, Failure> {
        if !self.nextest {
            let mut command = self.command(&["test", "--no-fail-fast"], wanted);
            command
                .envs(environment.iter().cloned())
                .arg("--")
                .args(&wanted.filters);
            return libtest(&colourful(command));
        }
        let report = self.workspace.root().join("target/nextest/xtask/junit.xml");
        // An old report must not be taken for this run's.
        let _ = fs::remove_file(&report);
        let mut command = self.command(
            &["nextest", "run", "--profile", "xtask", "--no-tests", "pass"],
            wanted,
        );
        command
            .envs(environment.iter().cloned())
            .args(&wanted.filters);
        if wanted.retry {
            command.args(["--retries", "1"]);
        }
        let (succeeded, output) = tee(&colourful(command))?;
        let suites = summary::from_junit(&fs::read_to_string(&report).unwrap_or_default());
        Ok(Outcome {
            suites,
            also_skipped: summary::skipped_by_nextest(&output),
            succeeded,
            names: summary::test_names(&output),
            retried: summary::retried(&output),
        })
    }

    pub(super) fn doc_tests(
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
        names: summary::test_names(&output),
        retried: Vec::new(),
    })
}

/// The runner sees a pipe; a person may still sit at the other end of it.
fn colourful(mut command: Command) -> Command {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command
}
