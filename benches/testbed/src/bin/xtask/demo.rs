//! `cargo xtask demo`: a whole service to look at.

use crate::arguments::Arguments;
use crate::doctor;
use crate::failure::Failure;
use crate::step::{run as run_program, step};
use crate::workspace::Workspace;

pub(crate) const USAGE: &str = "cargo xtask demo [--smoke] [--port N]";

/// Builds and runs the events service; with `--smoke` it fetches every URL of itself once and ends.
pub(crate) fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let smoke = arguments.flag("--smoke");
    let port = arguments.value("--port")?;
    arguments.none_left(USAGE)?;
    doctor::ready_to_build(workspace)?;
    step(
        "build the events service",
        "4 min the first time, 5 s later",
        || run_program(workspace.cargo().args(["build", "-p", "bilten-events"])),
    )?;
    let mut service = workspace.cargo();
    service
        .args(["run", "--quiet", "-p", "bilten-events", "--"])
        .args(smoke.then_some("--smoke"));
    if let Some(port) = port {
        service.args(["--port", &port]);
    }
    run_program(&mut service)
}
