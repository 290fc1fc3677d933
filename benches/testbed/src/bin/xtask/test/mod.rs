//! `cargo xtask test`: every test, on real servers, and one line at the end that says how it went.

mod chaos;
mod floors;
mod fuzz;
mod runner;
mod spelled;
mod summary;

use std::fmt;

use crate::arguments::Arguments;
use crate::browser;
use crate::doctor;
use crate::failure::Failure;
use crate::servers::{self, Servers};
use crate::step::{run as run_program, step};
use crate::workspace::Workspace;
use runner::{Outcome, Runner, Wanted};

pub(crate) use summary::Counts;

pub(crate) const USAGE: &str = "cargo xtask test [--quick] [--retry] [PACKAGE...] [FILTER...] | --chaos MINUTES [--seed SEED] | --fuzz MINUTES";

pub(crate) const OPTIONS: &str = "\
  PACKAGE          only the tests of this package, such as bilten-db
  FILTER           only tests with this in their name, such as replica
  --quick          unit and doc tests only, without servers
  --retry          try a test that fails once more: it is named in the end, and more than two fail the run
  --chaos MINUTES  break servers at random for so long, and look for stale values
  --seed SEED      the same faults in the same order again
  --fuzz MINUTES   feed what reads bytes with random ones for so long";

/// So many tests may need their second try; a run that needs more has another reason than the load of its machine.
const RETRIED: usize = 2;

/// Runs the tests and the doc tests, prints what each package ran, and ends with `N passed, N failed, N skipped`.
pub(crate) fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    if let Some(minutes) = arguments.value("--chaos")? {
        return chaos::run(workspace, &minutes, arguments);
    }
    if let Some(minutes) = arguments.value("--fuzz")? {
        return fuzz::run(workspace, &minutes, arguments);
    }
    let report = report(workspace, arguments)?;
    let verdict = report.verdict();
    print!("{}", report.retried());
    if let Err(failure) = &verdict {
        println!("{failure}");
    }
    println!("{}", report.total());
    verdict.map_err(|_| Failure::told())
}

/// Everything but the last line.
pub(crate) fn report(workspace: &Workspace, mut arguments: Arguments) -> Result<Report, Failure> {
    let (quick, retry) = (arguments.flag("--quick"), arguments.flag("--retry"));
    let (filters, after) = arguments.rest(USAGE)?;
    if !after.is_empty() {
        return Err(Failure::usage("nothing can follow `--`").remedy(USAGE));
    }
    let wanted = Wanted {
        quick,
        retry,
        ..Wanted::of(filters, &workspace.packages()?)
    };
    if let Some(filter) = spelled::nowhere(&wanted.filters, workspace)? {
        return Err(fits_nothing(filter, &wanted.packages));
    }
    doctor::ready_to_build(workspace)?;
    if quick {
        println!(
            "--quick: unit and doc tests only; the integration tests and their servers are left out"
        );
    } else {
        servers::make_ready()?;
        browser::make_ready()?;
    }
    let runner = Runner::find(workspace, &wanted)?;
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

    /// A line for each test that passed only at its second try.
    pub(crate) fn retried(&self) -> String {
        let line = |name: &String| {
            format!(
                "passed only at the second try, which is a bug of it or of what it tests: {name}\n"
            )
        };
        self.outcome.retried.iter().map(line).collect()
    }

    /// Fails on a failed test, too many second tries, a discontented runner, a suite that shrank, or a filter that fits nothing.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let wanted = &self.wanted;
        let shrunk = if wanted.is_everything() {
            floors::too_few(&self.outcome.suites, wanted.quick)
        } else {
            Vec::new()
        };
        let without_a_test = wanted
            .filters
            .iter()
            .find(|filter| !self.outcome.names.iter().any(|name| name.contains(*filter)));
        if self.total().failed > 0 || !self.outcome.succeeded {
            Err(Failure::new("tests failed; the runner's words are above"))
        } else if self.outcome.retried.len() > RETRIED {
            let retried = self.outcome.retried.len();
            let failure = Failure::new(format!("{retried} tests passed only at the second try"));
            Err(failure.remedy("look into each of them; at most two are let pass"))
        } else if !shrunk.is_empty() {
            let failure = Failure::new(format!("too few tests: {}", shrunk.join("; ")));
            Err(failure.remedy(
                "find out why they are not run; the numbers are in the xtask's test/floors.rs",
            ))
        } else if let Some(filter) = without_a_test {
            Err(fits_nothing(filter, &wanted.packages))
        } else if self.total().ran() == 0 {
            Err(Failure::new("no test ran"))
        } else {
            Ok(())
        }
    }
}

fn fits_nothing(filter: &str, packages: &[String]) -> Failure {
    let whose = match packages {
        [] => "of any package".to_owned(),
        packages => format!("of {}", packages.join(" or ")),
    };
    Failure::new(format!("no test {whose} has `{filter}` in its name"))
        .remedy("a part of a test's or module's name, or a package's whole name such as bilten-db")
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

#[cfg(test)]
mod tests {
    use super::summary::Suites;
    use super::*;
    use crate::workspace::Package;

    fn report(line: &str, name: &str, passed: usize) -> Report {
        let packages = ["bilten-db", "bilten-cache"].map(|name| Package {
            name: name.to_owned(),
            folder: name.into(),
            features: Vec::new(),
        });
        let line = line.split_whitespace().map(str::to_owned).collect();
        let counts = Counts {
            passed,
            ..Counts::default()
        };
        Report {
            wanted: Wanted::of(line, &packages),
            outcome: Outcome {
                suites: Suites::from([("bilten-db".to_owned(), counts)]),
                also_skipped: 0,
                succeeded: true,
                names: vec![name.to_owned()],
                retried: Vec::new(),
            },
        }
    }

    #[test]
    fn a_packages_name_chooses_the_package_and_any_other_word_a_test() {
        let Wanted {
            packages, filters, ..
        } = report("lag bilten-db pool", "", 0).wanted;
        assert_eq!(packages, ["bilten-db"]);
        assert_eq!(filters, ["lag", "pool"]);
    }

    #[test]
    fn two_second_tries_are_let_pass_and_named_and_three_fail() {
        let mut report = report("", "one", 3);
        report.wanted.packages = vec!["bilten-db".to_owned()];
        for (retried, passes) in [(0, true), (2, true), (3, false)] {
            report.outcome.retried = (0..retried).map(|n| format!("test{n}")).collect();
            assert_eq!(report.verdict().is_ok(), passes, "{retried}");
            assert_eq!(report.retried().lines().count(), retried);
        }
        assert!(report.retried().ends_with("it tests: test2\n"));
    }

    #[test]
    fn a_filter_that_fits_nothing_fails_the_run_and_is_named() {
        let ran = "pool::tests::a_pool_is_bounded";
        assert!(report("pool", ran, 1).verdict().is_ok());
        assert!(report("bilten-db", ran, 1).verdict().is_ok());
        for (line, passed, said) in [
            (
                "nosuch",
                0,
                "no test of any package has `nosuch` in its name",
            ),
            (
                "pool nosuch",
                1,
                "no test of any package has `nosuch` in its name",
            ),
            (
                "bilten-db lag",
                0,
                "no test of bilten-db has `lag` in its name",
            ),
            ("bilten-db", 0, "no test ran"),
        ] {
            let failure = report(line, ran, passed).verdict().expect_err(line);
            assert!(failure.to_string().starts_with(said), "{line}: {failure}");
        }
    }
}
