//! `cargo xtask bench`: the benchmarks, beside real servers.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::servers::{self, Servers};
use crate::step::{run as run_program, step};
use crate::workspace::{HTTP_PEERS, PEERS, Workspace};

pub(crate) const USAGE: &str =
    "cargo xtask bench [NAME|peers|http-peers|outage|steps] [--quick] [-- ARGUMENTS]";

pub(crate) const OPTIONS: &str = "\
  NAME          one benchmark; a wrong name lists them
  peers         other caches on the same work, as a table
  http-peers    other HTTP layers on the same work, as a table
  outage        two caches while Redis stands still, as a picture
  steps         one scenario after each thing that is added to a cache, as pictures
  --quick       fewer samples
  -- ARGUMENTS  for criterion, such as a part of a benchmark's name";

/// Runs every benchmark, the named one, the comparison with other caches, or a run that draws.
pub(crate) fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let quick = arguments.flag("--quick");
    let (names, after) = arguments.rest(USAGE)?;
    known(&names, &workspace.benchmarks()?)?;
    can_be_quick(&names, quick)?;
    let mut command = workspace.cargo();
    let usual = match names.as_slice() {
        [name] if name == "peers" => {
            command.args(["run", "--profile", "bench", "-p", PEERS, "--"]);
            "5 min to build, then 2 min"
        }
        [name] if name == "http-peers" => {
            // It takes no arguments and needs no servers.
            let usual = "5 min to build, then 30 s";
            command.args(["run", "--profile", "bench", "-p", HTTP_PEERS]);
            let mut counting = workspace.cargo();
            counting.args(["run", "--profile", "bench", "-p", HTTP_PEERS]);
            counting.args(["--bin", "http-peers-allocations"]);
            return step("the comparison in release", usual, || {
                run_program(&mut command)?;
                run_program(&mut counting)
            });
        }
        [name] if name == "outage" || name == "steps" => {
            command.args([
                "run",
                "--profile",
                "bench",
                "-p",
                "bilten-benches",
                "--example",
                name,
                "--",
            ]);
            "5 min to build, then up to 4 min"
        }
        [] => {
            command.args(["bench", "-p", "bilten-benches", "--benches", "--"]);
            "5 min to build, then 5 min"
        }
        [name] => {
            command.args(["bench", "-p", "bilten-benches", "--bench", name, "--"]);
            "5 min to build, then 1 min"
        }
        [_, second, ..] => {
            return Err(Failure::usage(format!("unexpected `{second}`")).remedy(USAGE));
        }
    };
    command.args(quick.then_some("--quick")).args(after);
    servers::make_ready()?;
    let servers = Servers::start()?;
    command.envs(servers.environment());
    step("benchmarks in release", usual, || run_program(&mut command))
}

/// Stops at a name that nothing has, before anything is started or built for it.
fn known(names: &[String], benchmarks: &[String]) -> Result<(), Failure> {
    let unknown = names
        .iter()
        .find(|name| !WHOLE_PROGRAMS.contains(&name.as_str()) && !benchmarks.contains(name));
    match unknown {
        Some(unknown) => {
            let all = benchmarks.iter().map(String::as_str).chain(WHOLE_PROGRAMS);
            let all = all.collect::<Vec<_>>().join(", ");
            Err(
                Failure::usage(format!("no benchmark is called `{unknown}`"))
                    .remedy(format!("one of {all}")),
            )
        }
        None => Ok(()),
    }
}

/// Whether what runs knows what it may leave out.
fn can_be_quick(names: &[String], quick: bool) -> Result<(), Failure> {
    let whole = names
        .iter()
        .find(|name| WHOLE_PROGRAMS[1..].contains(&name.as_str()));
    match whole.filter(|_| quick) {
        Some(name) => Err(Failure::usage(format!(
            "`{name}` always runs as a whole, so `--quick` is nothing to it"
        ))
        .remedy("leave it out")),
        None => Ok(()),
    }
}

/// What is no criterion benchmark.
const WHOLE_PROGRAMS: [&str; 4] = ["peers", "http-peers", "outage", "steps"];

/// Runs every benchmark a single time, unmeasured and as the tests are built: it shows that each still works.
pub(crate) fn each_once(workspace: &Workspace) -> Result<(), Failure> {
    servers::make_ready()?;
    let servers = Servers::start()?;
    let mut command = workspace.cargo();
    command
        .arg("test")
        .args(workspace.test_selection(&[])?)
        .args(["--bench", "*"])
        .envs(servers.environment());
    step("every benchmark once", "1 min", || {
        run_program(&mut command)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_samples_can_be_quick() {
        let can = |name: &str| can_be_quick(&[name.to_owned()], true).is_ok();
        assert!(can("peers") && can("l2_hit") && can_be_quick(&[], true).is_ok());
        assert!(!can("steps") && !can("outage") && !can("http-peers"));
        assert!(can_be_quick(&["steps".to_owned()], false).is_ok());
    }

    #[test]
    fn a_name_that_nothing_has_lists_those_there_are() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let benchmarks = words("l1_hit l2_hit");
        assert_eq!(known(&words("peers"), &benchmarks), Ok(()));
        assert_eq!(known(&words("l2_hit"), &benchmarks), Ok(()));
        let failure = known(&words("nosuch"), &benchmarks).expect_err("unknown");
        assert_eq!(failure.code(), 2);
        assert!(
            failure
                .to_string()
                .ends_with("one of l1_hit, l2_hit, peers, http-peers, outage, steps"),
            "{failure}"
        );
    }
}
