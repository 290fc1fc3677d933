//! `cargo xtask bench`: the benchmarks, beside real servers.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::servers::{self, Servers};
use crate::step::{run as run_program, step};
use crate::workspace::{PEERS, Workspace};

pub(crate) const USAGE: &str = "cargo xtask bench [NAME|peers|outage] [--quick] [-- ARGUMENTS]";

/// Runs every benchmark, the named one, the comparison with other caches, or the run that draws an outage of Redis.
pub(crate) fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let quick = arguments.flag("--quick");
    let (names, after) = arguments.rest(USAGE)?;
    let mut command = workspace.cargo();
    let usual = match names.as_slice() {
        [name] if name == "peers" => {
            command.args(["run", "--profile", "bench", "-p", PEERS, "--"]);
            "5 min to build, then 2 min"
        }
        [name] if name == "outage" => {
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
            "5 min to build, then 30 s"
        }
        [] => {
            command.args(["bench", "-p", "bilten-benches", "--benches", "--"]);
            "5 min to build, then 5 min"
        }
        [name] => {
            command.args(["bench", "-p", "bilten-benches", "--bench", name, "--"]);
            "5 min to build, then 1 min"
        }
        _ => return Err(Failure::usage("more than one benchmark name").remedy(USAGE)),
    };
    command.args(quick.then_some("--quick")).args(after);
    servers::make_ready()?;
    let servers = Servers::start()?;
    command.envs(servers.environment());
    step("benchmarks in release", usual, || run_program(&mut command))
}

/// Runs every benchmark a single time, unmeasured and as the tests are built: it shows that each still works.
pub(crate) fn each_once(workspace: &Workspace) -> Result<(), Failure> {
    servers::make_ready()?;
    let servers = Servers::start()?;
    let mut command = workspace.cargo();
    command
        .arg("test")
        .args(workspace.test_selection()?)
        .args(["--bench", "*"])
        .envs(servers.environment());
    step("every benchmark once", "1 min", || {
        run_program(&mut command)
    })
}
