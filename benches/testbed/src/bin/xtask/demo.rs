//! `cargo xtask demo`: a whole service to look at.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use crate::arguments::Arguments;
use crate::doctor;
use crate::failure::Failure;
use crate::machine;
use crate::servers::{self, Servers};
use crate::step::{run as run_program, step};
use crate::workspace::Workspace;

pub(crate) const USAGE: &str = "cargo xtask demo [--servers] [--smoke] [--port N] [-- ARGUMENTS]";

pub(crate) const OPTIONS: &str = "\
  --servers     on a real Redis and a real PostgreSQL with two replicas, started for it
  --smoke       fetch every URL once, say what was right and wrong, and end
  --port N      listen on this port of 127.0.0.1 instead of 8080; 0 is any free one
  -- ARGUMENTS  for the service itself, such as --help";

/// Builds and runs the events service; with `--smoke` it fetches every URL of itself once and ends.
pub(crate) fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let with_servers = arguments.flag("--servers");
    let smoke = arguments.flag("--smoke");
    let port = arguments
        .value("--port")?
        .map(|text| port(&text))
        .transpose()?;
    let (words, after) = arguments.rest(USAGE)?;
    if let Some(word) = words.first() {
        return Err(Failure::usage(format!("unexpected `{word}`")).remedy(USAGE));
    }
    doctor::ready_to_build(workspace)?;
    if !smoke && after.is_empty() {
        is_free(port.unwrap_or(USUAL_PORT))?;
    }
    if with_servers {
        servers::make_ready()?;
    }
    step(
        "build the events service",
        "4 min the first time, 5 s later",
        || run_program(workspace.cargo().args(["build", "-p", "bilten-events"])),
    )?;
    let servers = with_servers.then(Servers::start).transpose()?;
    let mut service = workspace.cargo();
    service
        .args(["run", "--quiet", "-p", "bilten-events", "--"])
        .args(options(smoke, port, servers.as_ref()))
        .args(after);
    if !smoke {
        println!("\nThe service runs until Ctrl-C.");
    }
    run_program(&mut service)
}

/// The smoke run of the service that the tests were built with: the same program with a few features more, and no second build of everything
/// below it. That it builds by itself too is what the hosted runs look at.
pub(crate) fn smoke_as_tested(with_servers: bool) -> Result<(), Failure> {
    let program = machine::built_beside("bilten-events").ok_or_else(|| {
        Failure::new("the events service was not built by the tests")
            .remedy("cargo xtask test bilten-events")
    })?;
    let servers = with_servers.then(Servers::start).transpose()?;
    let mut service = Command::new(program);
    run_program(service.args(options(true, None, servers.as_ref())))
}

/// The service's own default.
const USUAL_PORT: u16 = 8080;

/// Asked before the build, so that nobody waits minutes for this answer.
fn is_free(port: u16) -> Result<(), Failure> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => Err(
            Failure::new(format!("cannot listen on 127.0.0.1:{port} ({error})"))
                .remedy("end what listens there, or choose another --port; 0 is any free one"),
        ),
    }
}

fn port(text: &str) -> Result<u16, Failure> {
    let wrong = |_| {
        Failure::usage(format!("--port {text} is no port"))
            .remedy("a number from 0 (any free port) to 65535")
    };
    text.parse().map_err(wrong)
}

/// The service's own options.
fn options(smoke: bool, port: Option<u16>, servers: Option<&Servers>) -> Vec<String> {
    let mut options = Vec::new();
    // A smoke run must not meet whatever listens on the usual port.
    if let Some(port) = port.or(smoke.then_some(0)) {
        options.extend(["--port".to_owned(), port.to_string()]);
    }
    if smoke {
        options.push("--smoke".to_owned());
    }
    if let Some(servers) = servers {
        options.extend(["--redis".to_owned(), servers.redis_url.clone()]);
        options.extend(["--database".to_owned(), servers.primary_url.clone()]);
        options.extend(
            servers
                .replica_urls
                .iter()
                .flat_map(|url| ["--replica".to_owned(), url.clone()]),
        );
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoke_run_takes_any_free_port() {
        assert_eq!(options(true, None, None), ["--port", "0", "--smoke"]);
        assert_eq!(
            options(true, Some(8080), None),
            ["--port", "8080", "--smoke"]
        );
        assert!(options(false, None, None).is_empty());
    }

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let failure = is_free(port).expect_err("taken").to_string();
        assert!(
            failure.contains(&port.to_string()) && failure.contains("--port"),
            "{failure}"
        );
        assert_eq!(is_free(0), Ok(()));
    }

    #[test]
    fn a_port_that_is_none_is_a_usage_error() {
        assert_eq!(port("8080"), Ok(8080));
        assert_eq!(port("80800").map_err(|failure| failure.code()), Err(2));
    }
}
