//! `cargo xtask ci`: what the hosted runs do, with the time of each part.

use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::step::Took;
use crate::workspace::Workspace;
use crate::{bench, check, demo, test};

pub(crate) const USAGE: &str = "cargo xtask ci";

/// Runs every part even after one has failed, and ends with the tests' line.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<(), Failure> {
    arguments.none_left(USAGE)?;
    let mut parts = Parts::default();
    let start = Instant::now();
    let (mut counts, mut retried) = (None, String::new());
    parts.run("check", || check::run(workspace, words("")));
    parts.run("test", || {
        let report = test::report(workspace, words("--retry"))?;
        counts = Some(report.total());
        retried = report.retried();
        report.verdict()
    });
    parts.run("test --chaos 1", || {
        test::run(workspace, words("--chaos 1"))
    });
    parts.run("test --fuzz 1", || test::run(workspace, words("--fuzz 1")));
    parts.run("demo --smoke", || demo::smoke_as_tested(false));
    parts.run("demo --servers --smoke", || demo::smoke_as_tested(true));
    parts.run("benchmarks", || bench::each_once(workspace));
    parts.add("total", parts.failed.is_empty(), start.elapsed());
    println!("\n{}", parts.lines.join("\n"));
    if !parts.failed.is_empty() {
        println!("failed: {}", parts.failed.join(", "));
    }
    print!("{retried}");
    if let Some(counts) = counts {
        println!("{counts}");
    }
    if parts.failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::told())
    }
}

fn words(line: &str) -> Arguments {
    Arguments::new(line.split_whitespace().map(str::to_owned))
}

/// What has run so far.
#[derive(Default)]
struct Parts {
    lines: Vec<String>,
    failed: Vec<&'static str>,
}

impl Parts {
    fn run(&mut self, name: &'static str, part: impl FnOnce() -> Result<(), Failure>) {
        println!("\n##### {name}");
        let start = Instant::now();
        let result = part();
        if let Err(failure) = &result {
            println!("{failure}");
            self.failed.push(name);
        }
        self.add(name, result.is_ok(), start.elapsed());
    }

    fn add(&mut self, name: &str, succeeded: bool, took: Duration) {
        let verdict = if succeeded { "ok" } else { "FAILED" };
        self.lines.push(format!(
            "{name:<24} {verdict:<7} {:>12}",
            Took(took).to_string()
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_part_does_not_stop_the_next() {
        let mut parts = Parts::default();
        parts.run("one", || Err(Failure::new("no")));
        parts.run("two", || Ok(()));
        assert_eq!(parts.failed, ["one"]);
        assert_eq!(parts.lines.len(), 2);
        assert!(parts.lines[0].contains("FAILED") && parts.lines[1].contains("ok"));
    }
}
