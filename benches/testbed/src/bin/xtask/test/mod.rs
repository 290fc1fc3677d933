//! `cargo xtask test`: every test, on real servers, and one line at the end that says how it went.

mod chaos;

mod floors;
mod runner;
mod summary;

use std::fmt;

use crate::arguments::Arguments;
use crate::doctor;
use crate::failure::Failure;
use crate::servers::{self, Servers};
use crate::step::{run as run_program, step};
use crate::workspace::Workspace;
use runner::{Outcome, Runner, Wanted};

pub(crate) use summary::Counts;

pub(crate) const USAGE: &str =
    "cargo xtask test [--quick] [FILTER...] | --chaos MINUTES [--seed SEED]";

/// Runs the tests and the doc tests, prints what each package ran, and ends with `N passed, N failed, N skipped`.
pub(crate) fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    if let Some(minutes) = arguments.value("--chaos")? {
        return chaos::run(workspace, &minutes, arguments);
    }
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
