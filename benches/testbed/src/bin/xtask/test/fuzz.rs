//! `cargo xtask test --fuzz MINUTES`: everything that reads bytes from elsewhere, fed with bytes that nobody meant.

use std::time::{Duration, Instant};

use super::runner::{Runner, Wanted};
use crate::arguments::Arguments;
use crate::doctor;
use crate::failure::Failure;
use crate::step::{run as run_program, step};
use crate::workspace::Workspace;

const USAGE: &str = "cargo xtask test --fuzz MINUTES";

/// In the path of each test that fuzzes.
const TESTS: &str = "fuzz::";
/// How long each of them runs in one round: far below the limit of one test.
const ROUND: Duration = Duration::from_secs(20);
const LONGEST_RUN: u64 = 24 * 60;

fn lasts(minutes: &str) -> Result<Duration, Failure> {
    let minutes_of = minutes.parse().ok();
    let lasts = minutes_of.filter(|n| (1..=LONGEST_RUN).contains(n));
    lasts.map(|n| Duration::from_secs(n * 60)).ok_or_else(|| {
        let wrong = format!("--fuzz takes 1 to {LONGEST_RUN} minutes, not `{minutes}`");
        Failure::usage(wrong).remedy(USAGE)
    })
}

/// Runs until the time is over or an input breaks a promise, which is kept in the corpus.
pub(super) fn run(
    workspace: &Workspace,
    minutes: &str,
    arguments: Arguments,
) -> Result<(), Failure> {
    let lasts = lasts(minutes)?;
    arguments.none_left(USAGE)?;
    doctor::ready_to_build(workspace)?;
    // Every package, though one alone fuzzes: built as in `cargo xtask test`, they need not be built again after it.
    let wanted = Wanted {
        quick: true,
        retry: false,
        packages: Vec::new(),
        filters: vec![TESTS.to_owned()],
    };
    let runner = Runner::find(workspace, &wanted)?;
    step(
        "compile the tests",
        "4 min the first time, 10 s later",
        || run_program(&mut runner.compile(&wanted)),
    )?;
    let start = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || start.elapsed() < lasts {
        rounds += 1;
        let environment = [("BILTEN_FUZZ_SECONDS", ROUND.as_secs().to_string())];
        let outcome = step("fuzz", "1 min", || runner.tests(&wanted, &environment))?;
        let ran: usize = outcome.suites.values().map(|counts| counts.ran()).sum();
        if ran == 0 {
            return Err(Failure::new("no fuzz test was run"));
        }
        if !outcome.succeeded {
            let remedy = "the input is in bilten-cache/testdata/corpus: `cargo xtask test fuzz::` tries it first";
            return Err(Failure::new(format!("round {rounds} failed")).remedy(remedy));
        }
    }
    println!("{rounds} rounds, no promise broken");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_that_are_none_are_named() {
        assert_eq!(lasts("2"), Ok(Duration::from_secs(120)));
        for wrong in ["0", "soon", "1441", "-1"] {
            let failure = lasts(wrong).expect_err("wrong");
            assert_eq!(failure.code(), 2);
            assert!(
                failure.to_string().contains(&format!("`{wrong}`")),
                "{failure}"
            );
        }
    }
}
