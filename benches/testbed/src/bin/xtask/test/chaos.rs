//! `cargo xtask test --chaos MINUTES`: the history tests of the cache and of the database, round after round, each with a seed that replays it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::runner::{Runner, Wanted};
use crate::arguments::Arguments;
use crate::doctor;
use crate::failure::Failure;
use crate::servers;
use crate::step::{run as run_program, step};
use crate::workspace::Workspace;

const USAGE: &str = "cargo xtask test --chaos MINUTES [--seed SEED]";

/// In the name of each test that drives nodes with random work and checks what they read.
const TESTS: &str = "reads_older_than_promised";
/// How long the nodes work in one round; then everything must settle. Not all places run at the same time, so that a round takes twice as long
/// and more.
const ROUND: Duration = Duration::from_secs(25);
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST_RUN: u64 = 24 * 60;

/// What was asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    lasts: Duration,
    /// Replays one round.
    seed: Option<u64>,
}

impl Plan {
    fn read(minutes: &str, mut arguments: Arguments) -> Result<Self, Failure> {
        let lasts = minutes
            .parse()
            .ok()
            .filter(|n| (1..=LONGEST_RUN).contains(n));
        let Some(lasts) = lasts else {
            let wrong = format!("--chaos takes 1 to {LONGEST_RUN} minutes, not `{minutes}`");
            return Err(Failure::usage(wrong).remedy(USAGE));
        };
        let seed = arguments.value("--seed")?;
        let seed = seed.map(|text| {
            let wrong = || Failure::usage(format!("--seed takes a number, not `{text}`"));
            text.parse().map_err(|_| wrong().remedy(USAGE))
        });
        let seed = seed.transpose()?;
        arguments.none_left(USAGE)?;
        let lasts = Duration::from_secs(lasts * 60);
        Ok(Self { lasts, seed })
    }

    /// How long the nodes work in the round that comes next; `None` when it is enough.
    fn round(&self, rounds: u32, elapsed: Duration) -> Option<Duration> {
        let left = self.lasts.saturating_sub(elapsed);
        match (rounds, self.seed) {
            (0, _) => Some(left.clamp(SHORTEST, ROUND)),
            (_, None) if left >= SHORTEST => Some(left.min(ROUND)),
            _ => None,
        }
    }
}

/// Runs until the time is over or a read is found that is older than promised.
pub(super) fn run(
    workspace: &Workspace,
    minutes: &str,
    arguments: Arguments,
) -> Result<(), Failure> {
    let plan = Plan::read(minutes, arguments)?;
    doctor::ready_to_build(workspace)?;
    servers::make_ready()?;
    let wanted = Wanted {
        quick: false,
        retry: false,
        packages: Vec::new(),
        filters: vec![TESTS.to_owned()],
    };
    let runner = Runner::find(workspace, &wanted)?;
    step(
        "compile the tests",
        "6 min the first time, 10 s later",
        || run_program(&mut runner.compile(&wanted)),
    )?;
    let start = Instant::now();
    let mut rounds = 0;
    while let Some(lasts) = plan.round(rounds, start.elapsed()) {
        let seed = plan.seed.unwrap_or_else(any_seed);
        rounds += 1;
        println!("round {rounds}, seed {seed}, {} s of work", lasts.as_secs());
        let environment = [
            ("BILTEN_CHAOS_SEED", seed.to_string()),
            ("BILTEN_CHAOS_SECONDS", lasts.as_secs().to_string()),
        ];
        let outcome = step("history", "70 s", || runner.tests(&wanted, &environment))?;
        let ran: usize = outcome.suites.values().map(|counts| counts.ran()).sum();
        if ran == 0 {
            return Err(Failure::new("the history test was not run"));
        }
        if !outcome.succeeded {
            let again = format!("cargo xtask test --chaos 1 --seed {seed}");
            return Err(Failure::new(format!("round {rounds} failed")).remedy(again));
        }
    }
    println!("{rounds} rounds, no read older than promised");
    Ok(())
}

/// The time and the process make no two runs alike.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = now.map_or(0, |now| u64::from(now.subsec_nanos()) ^ now.as_secs());
    (nanos ^ (u64::from(std::process::id()) << 16)) & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(minutes: &str, line: &str) -> Result<Plan, Failure> {
        let words = line.split_whitespace().map(str::to_owned);
        Plan::read(minutes, Arguments::new(words))
    }

    #[test]
    fn rounds_follow_each_other_until_the_time_is_over() {
        let plan = plan("1", "").expect("a plan");
        let round = |rounds, elapsed| plan.round(rounds, Duration::from_secs(elapsed));
        assert_eq!(round(0, 0), Some(ROUND));
        assert_eq!(round(1, 45), Some(Duration::from_secs(15)));
        assert_eq!(round(1, 51), None);
        assert_eq!(round(0, 99), Some(SHORTEST), "one round in any case");
    }

    #[test]
    fn a_seed_is_one_round() {
        let plan = plan("5", "--seed 77").expect("a plan");
        assert_eq!(plan.seed, Some(77));
        assert!(plan.round(0, Duration::ZERO).is_some());
        assert_eq!(plan.round(1, Duration::ZERO), None);
    }

    #[test]
    fn what_is_wrong_on_the_command_line_is_named() {
        for (minutes, line, word) in [
            ("0", "", "`0`"),
            ("soon", "", "`soon`"),
            ("1441", "", "`1441`"),
            ("1", "--seed x", "`x`"),
            ("1", "filter", "`filter`"),
        ] {
            let failure = plan(minutes, line).expect_err("wrong");
            assert_eq!(failure.code(), 2);
            assert!(failure.to_string().contains(word), "{failure}");
        }
    }
}
